"""What a run has left of its work in the result storage, read for operators and checked."""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from tasks.operators.operator_errors import CommandRefused, NotDone, NotPossible
from tasks.outcome.run_result import AgentRunResult, WorkResult
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StorageError
from tasks.text.quoting import quote
from tasks.text.safe_text import one_line
from tasks.vocabulary.names import AgentId, FlowRunId

_REASON_CHARACTERS = 300
# As `storage_keys` makes them; any other was put into the result by somebody else.
_KEY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class RunWork:
    """What one run has left, and the storage that has it."""

    agent_id: AgentId
    flow_run_id: FlowRunId
    work: WorkResult
    storage: ResultStorage

    async def read_patch(self, target: Path) -> None:
        """Write the patch to a file; an empty one if the run has changed nothing.

        Raises:
            NotPossible: No patch is stored.
            NotDone: The storage cannot be read.
        """
        if self.work.patch_key is None and self.work.is_unchanged:
            await asyncio.to_thread(target.touch)
            return
        await self._read("patch", self.work.patch_key, target)

    def require_bundle(self) -> None:
        """Check that the result names a bundle.

        Raises:
            NotPossible: It does not.
        """
        if self.work.bundle_key is None:
            raise self._not_stored("bundle")

    async def read_bundle(self, target: Path) -> None:
        """Write the bundle to a file; it is the one that the run has stored.

        Raises:
            NotPossible: No bundle is stored, or another one.
            NotDone: The storage cannot be read.
        """
        self.require_bundle()
        key = await self._read("bundle", self.work.bundle_key, target)
        digest = await asyncio.to_thread(_sha256_of, target)
        if digest != self.work.bundle_sha256:
            raise NotPossible(
                f"The bundle at {self.storage.description}/{key} is not the one that flow run "
                f"{self.flow_run_id} has stored: its SHA-256 is {digest}, and the result says "
                f"{self.work.bundle_sha256 or 'none'}.",
                "Do not use it; find out who can write to the result storage.",
            )

    async def _read(self, what: str, key: str | None, target: Path) -> str:
        if key is None:
            raise self._not_stored(what)
        if not _lies_inside(key):
            raise NotPossible(
                f"The {what}'s key {quote(key)} is not one that a run writes, so it was not read.",
                "Do not use this result; find out who can write to the result storage.",
            )
        try:
            await self.storage.read_file(key, target)
        except StorageError as error:
            raise NotPossible(
                f"The {what} of flow run {self.flow_run_id} is not in the result storage any more "
                f"({self.storage.description}, {key}).",
                "Run this where the result storage can be read, and look whether its files expire.",
            ) from error
        except Exception as error:
            # A block may raise whatever its library does.
            said = quote(str(error)) or type(error).__name__
            raise NotDone(
                f"The {what} at {self.storage.description}/{key} could not be read: {said}.",
                "Make the result storage readable, then try again.",
            ) from error
        return key

    def _not_stored(self, what: str) -> CommandRefused:
        if self.work.is_unchanged:
            return NotPossible(
                f"Flow run {self.flow_run_id} has changed nothing, so it has no {what}.",
                f"`claude-jobs show {self.flow_run_id}` shows what it did instead.",
            )
        reasons = [text for text in (self.work.problem, *self.work.left_out) if text]
        why = f": {one_line(reasons[0], _REASON_CHARACTERS).rstrip('.')}" if reasons else ""
        return NotPossible(
            f"Flow run {self.flow_run_id} has stored no {what}{why}.", self._other_way(what)
        )

    def _other_way(self, what: str) -> str:
        if what == "bundle" and self.work.patch_key is not None:
            return "Its patch is stored: `--patch` prints it, for `git apply`."
        if what == "patch" and self.work.bundle_key is not None:
            return "Its bundle is stored: `--apply DIR` fetches it into a clone."
        return f"`claude-jobs work {self.agent_id} --run {self.flow_run_id}` shows what is left."


def require_work(
    agent_id: AgentId, flow_run_id: FlowRunId, result: AgentRunResult | None, *, at_work: bool
) -> WorkResult:
    """Return what a run has left.

    Args:
        agent_id: The run's agent.
        flow_run_id: The run.
        result: Its stored result, if one can be read.
        at_work: Whether the agent is still at work in it.

    Raises:
        NotPossible: It has not ended, has no result, or was not to collect its work.
    """
    if result is None and at_work:
        raise NotPossible(
            f"Agent {agent_id} is at work in flow run {flow_run_id}; what it leaves is collected "
            "when it has ended.",
            "Wait for its end, or name an earlier run with `--run FLOW_RUN_ID`.",
        )
    if result is None:
        raise NotPossible(
            f"No result of flow run {flow_run_id} of agent {agent_id} can be read from here.",
            "Set PREFECT_API_URL to the API that knows it, and run this where the result storage "
            "can be read; `claude-jobs show` shows what is left.",
        )
    if result.work is None:
        raise NotPossible(
            f"Flow run {flow_run_id} of agent {agent_id} has collected no work, because it was not "
            "asked to.",
            "Set `deliver: collect` in the next request or in the agent.",
        )
    return result.work


def _lies_inside(key: str) -> bool:
    return _KEY.fullmatch(key) is not None and ".." not in key.split("/")


def _sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
