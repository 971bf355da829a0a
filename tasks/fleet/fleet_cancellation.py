"""Who of a fleet is being cancelled: Prefect is asked once for all of its runs."""

import asyncio
import random
from collections.abc import Callable, Mapping
from uuid import UUID

from tasks.orchestrator.flow_run_states import CancellationReader, read_cancelled
from tasks.vocabulary.names import FlowRunId

_POLL_SECONDS = 10.0


class MemberCancellation:
    """Of one run; it is cancelled by itself, or with its fleet."""

    def __init__(self, fleet: "FleetCancellation") -> None:
        self._fleet = fleet
        self._asked = asyncio.Event()

    async def is_cancelled(self) -> bool:
        """See `Cancellation.is_cancelled`."""
        return self._asked.is_set() or await self._fleet.is_cancelled()

    async def wait_until_cancelled(self) -> None:
        """See `Cancellation.wait_until_cancelled`."""
        await self._asked.wait()

    def ask(self) -> None:
        """Have the run end its agent."""
        self._asked.set()


class FleetCancellation:
    """Asks the API about a fleet, its ancestors, and its runs at work.

    Attributes:
        asked: The fleet is being cancelled; nothing more is started.
    """

    def __init__(self, flow_run_id: FlowRunId) -> None:
        self._reader = CancellationReader(UUID(flow_run_id))
        self._reading: asyncio.Task[bool] | None = None
        self.asked = False

    async def is_cancelled(self) -> bool:
        """Tell whether the fleet is being cancelled; all who ask at once share one read."""
        if self.asked:
            return True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._reader.is_cancelled())
        # Who is cancelled while waiting takes the answer from nobody else.
        self.asked = await asyncio.shield(self._reading) or self.asked
        return self.asked

    async def watch(self, at_work: Callable[[], Mapping[FlowRunId, MemberCancellation]]) -> None:
        """Tell the runs at work that they are being cancelled, until cancelled; polls every 10 s.

        Args:
            at_work: Returns them, by flow run.
        """
        while True:
            await asyncio.sleep(_POLL_SECONDS * random.uniform(0.8, 1.2))
            await self.tell(at_work())

    async def tell(self, at_work: Mapping[FlowRunId, MemberCancellation]) -> None:
        """Ask once, and tell whom it concerns."""
        if await self.is_cancelled():
            for member in at_work.values():
                member.ask()
            return
        by_id = {UUID(flow_run_id): member for flow_run_id, member in at_work.items()}
        for flow_run_id in await read_cancelled(list(by_id)):
            by_id[flow_run_id].ask()
