"""Tasks that run beside a block and end with it."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class TasksBeside:
    """Starts tasks; when the block is left, for whatever reason, all of them have ended.

    This is not a `TaskGroup`: a failed task does not end the block; its awaiter sees the failure.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, body: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `body` beside the block, and return its task."""
        task = asyncio.create_task(body)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
