"""What a namespace may hold when it is swept, and what must have become of it afterwards.

The policy under which that is so: `POLICY`.
"""

from datetime import timedelta
from typing import Any

from tests.sweep.orphanage import DAYS_8, PREFIX, Agent, Case, job, lease, secret

POLICY = {"zombie": "mark_crashed"}
FRESH, STALE = timedelta(seconds=1), timedelta(hours=1)
AGENT_AT_WORK = 'trap "exit 143" TERM; sleep 300 & wait'
LIVE = ("Job", "Secret")


def _live(agent: Agent, age: timedelta = STALE, script: str | None = None) -> list[Any]:
    return [lease(agent, age=age), job(agent, script), secret(agent)]


def _inert(agent: Agent) -> list[Any]:
    return [lease(agent, age=STALE), job(agent)]


def _ended(agent: Agent, **notes: str) -> list[Any]:
    harvested = {f"{PREFIX}{key.replace('_', '-')}": text for key, text in notes.items()}
    return [lease(agent, age=STALE), job(agent, "exit 0", annotations=harvested), secret(agent)]


def _copy(agent: Agent) -> list[Any]:
    """Somebody's Job with all our labels and annotations, under a name of their own."""
    name = f"copy-of-{agent.agent_id}"
    return [job(agent, name=name), secret(agent, name)]


def _labelled_only(agent: Agent) -> list[Any]:
    name = f"labelled-{agent.agent_id}"
    found = [job(agent, name=name), secret(agent, name), lease(agent, age=DAYS_8, holder="")]
    found[2]["metadata"]["name"] = name
    for manifest in found:
        manifest["metadata"]["annotations"] = {}
    return found


def _other_version(agent: Agent) -> list[Any]:
    return [lease(agent, age=STALE), job(agent, labels={f"{PREFIX}version": "2"})]


CASES = [
    Case("at work, its run owns it", 10, "RUNNING", lambda agent: _live(agent, FRESH)),
    Case("cancelling, its run is at it", 3, "CANCELLING", lambda agent: _live(agent, FRESH)),
    Case("cancelled, somebody owns it", 3, "CANCELLED", lambda agent: _live(agent, FRESH)),
    Case("at work, its run beats without Lease", 3, "RUNNING", _live, beats=True),
    Case("at work, its run waits", 4, "SCHEDULED", _live),
    Case("at work, its run is paused", 3, "PAUSED", _live),
    Case("at work, its run is over", 5, "CRASHED", _live),
    Case("at work, its run was deleted", 4, None, _live),
    Case("at work, its run was cancelled", 5, "CANCELLED", _live, gone=LIVE),
    Case(
        "at work in a pod, its run was cancelled",
        2,
        "CANCELLED",
        lambda agent: _live(agent, script=AGENT_AT_WORK),
        gone=LIVE,
    ),
    Case(
        "at work without Lease, its run was cancelled",
        3,
        "CANCELLED",
        lambda agent: [job(agent), secret(agent)],
        gone=LIVE,
    ),
    Case("at work, stuck in cancelling", 4, "CANCELLING", _live, gone=LIVE, ends_run="CANCELLED"),
    Case("at work, its run is a zombie", 4, "RUNNING", _live, ends_run="CRASHED"),
    Case("never prompted, its run is over", 6, "CRASHED", _inert, gone=("Job",)),
    Case("never prompted, its run waits", 3, "SCHEDULED", _inert),
    Case("ended, not harvested", 2, "CRASHED", _ended),
    Case(
        "ended and harvested",
        2,
        "COMPLETED",
        lambda agent: _ended(agent, harvested_at="2026-01-01T00:00:00Z"),
    ),
    Case("of another version", 3, "CANCELLED", _other_version),
    Case("copy under another name", 4, "CANCELLED", _copy),
    Case("our label and nothing else", 3, "CANCELLED", _labelled_only),
    Case(
        "Secret without Job, its run is over",
        6,
        "COMPLETED",
        lambda agent: [secret(agent)],
        gone=("Secret",),
    ),
    Case("Secret without Job, its run waits", 3, "SCHEDULED", lambda agent: [secret(agent)]),
    Case(
        "Secret without Job, its run owns it",
        2,
        "RUNNING",
        lambda agent: [lease(agent, age=FRESH), secret(agent)],
    ),
    Case(
        "idle Lease",
        8,
        "COMPLETED",
        lambda agent: [lease(agent, age=DAYS_8, holder="")],
        gone=("Lease",),
    ),
    Case(
        "idle Lease, its run waits",
        3,
        "SCHEDULED",
        lambda agent: [lease(agent, age=DAYS_8, holder="")],
    ),
    Case(
        "idle Lease with somebody's note",
        2,
        "COMPLETED",
        lambda agent: [lease(agent, age=DAYS_8, holder="", paused_at="2026-01-01T00:00:00Z")],
    ),
    Case(
        "Lease of last week",
        3,
        "COMPLETED",
        lambda agent: [lease(agent, age=timedelta(days=6), holder="")],
    ),
    Case(
        "Lease of a zombie that made nothing",
        2,
        "RUNNING",
        lambda agent: [lease(agent, age=STALE)],
        ends_run="CRASHED",
    ),
]

# Would be stopped or deleted if it were older.
NEWBORN = [
    Case("newborn, its run was cancelled", 4, "CANCELLED", _live),
    Case("newborn, never prompted", 3, "CRASHED", _inert),
    Case("newborn Secret", 3, "COMPLETED", lambda agent: [secret(agent)]),
]
