"""The pause of an agent: an annotation on its Lease, which runs never delete.

Runs keep the annotations of a Lease, and an update that conflicts with another is repeated on top
of it, so neither the pause nor a run's tenure is lost. A pause prevents new runs from starting the
agent; it does not stop a working agent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.observation.api_fields import RawObject, instant_at, object_at, text_at, texts_at
from tasks.ownership.guard_verdicts import Blocked
from tasks.ownership.lease import LeaseHolder, build_lease
from tasks.text.safe_text import one_line
from tasks.vocabulary import names
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import AgentId

REASON_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class AgentPause:
    """The pause of an agent.

    Attributes:
        paused_at: By the API server's clock; `None` if the annotation is not a time.
        reason: The reason, as one safe line; `None` if none was given.
    """

    paused_at: datetime | None
    reason: str | None

    def describe(self) -> str:
        """Return time and reason, as the end of a sentence without its full stop."""
        since = f" since {self.paused_at:%Y-%m-%d %H:%M} UTC" if self.paused_at else ""
        return f"paused{since}: {self.reason}" if self.reason else f"paused{since}"


def find_pause(notes: Mapping[str, str]) -> AgentPause | None:
    """Return the pause in a Lease's annotations, even if its time is invalid."""
    if names.ANNOTATION_PAUSED_AT not in notes:
        return None
    reason = text_at(notes, names.ANNOTATION_PAUSED_REASON)
    return AgentPause(
        paused_at=instant_at(notes, names.ANNOTATION_PAUSED_AT),
        reason=one_line(reason, REASON_CHARACTERS) if reason else None,
    )


def build_paused(
    raw: RawObject | None, agent_id: AgentId, reason: str | None, now: datetime
) -> dict[str, Any]:
    """Build an agent's Lease with a pause; everything else on it is kept.

    Args:
        raw: The Lease as just read, to be replaced; `None` if the agent has none yet.
        agent_id: Id of the agent.
        reason: The reason, for people whose runs are blocked.
        now: The API server's time.

    Raises:
        InputInvalid: The reason is too long.
    """
    if reason is not None and len(reason) > REASON_CHARACTERS:
        raise InputInvalid(
            f"The reason has {len(reason):,} characters, more than {REASON_CHARACTERS:,}; "
            "shorten it."
        )
    body = dict(raw) if raw is not None else build_lease(agent_id, LeaseHolder(""), now, None)
    notes = {**texts_at(object_at(body, "metadata"), "annotations")}
    notes[names.ANNOTATION_PAUSED_AT] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    notes.pop(names.ANNOTATION_PAUSED_REASON, None)
    if reason:
        notes[names.ANNOTATION_PAUSED_REASON] = reason
    return _with_notes(body, notes)


def build_resumed(raw: RawObject) -> dict[str, Any]:
    """Build an agent's Lease without a pause; everything else on it is kept."""
    switch = {names.ANNOTATION_PAUSED_AT, names.ANNOTATION_PAUSED_REASON}
    notes = texts_at(object_at(raw, "metadata"), "annotations")
    return _with_notes(raw, {key: text for key, text in notes.items() if key not in switch})


def blocked_by_pause(agent_id: AgentId, pause: AgentPause) -> Blocked:
    """Return the verdict on a run that wants to start a paused agent."""
    return Blocked(
        ErrorCode.CONCURRENT_RUN_BLOCKED,
        f"Agent {agent_id} is {pause.describe().rstrip('.')}. No agent was started.",
        f"Allow new runs with `claude-jobs resume {agent_id}`, then start this run again.",
    )


def _with_notes(raw: RawObject, notes: Mapping[str, str]) -> dict[str, Any]:
    return {**raw, "metadata": {**object_at(raw, "metadata"), "annotations": dict(notes)}}
