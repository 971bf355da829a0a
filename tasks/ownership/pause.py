"""The pause switch of an agent: a note on its Lease, which no run ever deletes.

Runs write back what is noted on a Lease, and an update that meets another one is made again on top
of it, so that neither the switch nor a run's tenure is lost to the other. The switch keeps new
agents from being started; it ends none.
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
    """Somebody has paused an agent.

    Attributes:
        paused_at: By the API server's clock; null where the note is no instant.
        reason: Why, as one safe line; null where nobody said.
    """

    paused_at: datetime | None
    reason: str | None

    def describe(self) -> str:
        """Say since when and why, as the end of a sentence without its full stop."""
        since = f" since {self.paused_at:%Y-%m-%d %H:%M} UTC" if self.paused_at else ""
        return f"paused{since}: {self.reason}" if self.reason else f"paused{since}"


def find_pause(notes: Mapping[str, str]) -> AgentPause | None:
    """Return the pause that a Lease's annotations tell of, whatever its instant says."""
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
    """Build an agent's Lease with the switch on; everything else on it stays.

    Args:
        raw: As just read, to be replaced; null for an agent that has none yet.
        agent_id: Of the agent.
        reason: Why, for whoever is kept from starting it.
        now: By the API server's clock.

    Raises:
        InputInvalid: The reason is too long.
    """
    if reason is not None and len(reason) > REASON_CHARACTERS:
        raise InputInvalid(
            f"The reason has {len(reason):,} characters of at most {REASON_CHARACTERS:,}; "
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
    """Build an agent's Lease with the switch off; everything else on it stays."""
    switch = {names.ANNOTATION_PAUSED_AT, names.ANNOTATION_PAUSED_REASON}
    notes = texts_at(object_at(raw, "metadata"), "annotations")
    return _with_notes(raw, {key: text for key, text in notes.items() if key not in switch})


def blocked_by_pause(agent_id: AgentId, pause: AgentPause) -> Blocked:
    """Return the verdict for a run that would start a paused agent."""
    return Blocked(
        ErrorCode.CONCURRENT_RUN_BLOCKED,
        f"Agent {agent_id} is {pause.describe().rstrip('.')}. No agent was started.",
        f"`claude-jobs resume {agent_id}` lets it start again; then run this again.",
    )


def _with_notes(raw: RawObject, notes: Mapping[str, str]) -> dict[str, Any]:
    return {**raw, "metadata": {**object_at(raw, "metadata"), "annotations": dict(notes)}}
