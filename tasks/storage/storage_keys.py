"""Where everything that belongs to an agent lies in the result storage.

The keys follow from ids that stand on the Job, so a later run or a reader finds them without asking
anybody:

    reviewer-<hash>/<flow run>/1/result.json              an attempt of the flow run's own
    reviewer-<hash>/<flow run>/1/transcript.jsonl.gz
    reviewer-<hash>/<flow run>/1/work.bundle              with changes.patch and work-files.json
    reviewer-<hash>/<flow run>/adopted-<job>-<hash>/…     a Job that another flow run had created
    reviewer-<hash>/usage/2026-11-21.json
    reviewer-<hash>/sessions/t-1-<hash>.json
    reviewer-<hash>/pushed/claude-jobs-no-tenant-reviewer-t-1-<hash>.json

Keys of earlier versions were made of the ids themselves, cut and without the namespace, so two
agents could share one. They are still read, never written; what lies there must tell whose it is.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import PurePosixPath
from urllib.parse import quote
from uuid import UUID

from tasks.observation.snapshots import JobSnapshot
from tasks.vocabulary.names import AgentId, FlowRunId, slug_of

_SLUG_LIMIT = 40
# 80 bits of SHA-256: ids that share them are not met, and what is read tells whose it is as well.
_HASH_DIGITS = 20
# Of the old keys. Longer parts are cut by file systems, or refused.
_OLD_PART_LIMIT = 200


@dataclass(frozen=True, slots=True)
class StorageKey:
    """Where one thing is kept.

    Attributes:
        key: Where it is written, and read first.
        old_key: Where an earlier version has written it.
    """

    key: str
    old_key: str


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    """Where a flow run keeps what is about one Job.

    Attributes:
        path: Where it is written, and read first; without a slash at its end.
        old_path: Where an earlier version has written it.
    """

    owner: "StorageOwner"
    flow_run_id: FlowRunId
    path: str
    old_path: str


@dataclass(frozen=True, slots=True)
class StorageOwner:
    """The agent whose files they are; an agent of the same id in another namespace is another one.

    Every part of a key that is made of an id has 1 to 61 characters, lowercase ASCII letters,
    digits and hyphens, so that no file system and no store cuts, folds or refuses it. It is stable,
    and different ids never have the same: it shows what it can of the id and ends with a hash of
    the exact one. Only the ids that Prefect gives to flow runs stand as they are.
    """

    namespace: str
    agent_id: AgentId

    def attempt_of(self, flow_run_id: FlowRunId, job: JobSnapshot) -> AttemptFolder:
        """Return where a flow run keeps what is about a Job: its own by number, others' by name."""
        if job.flow_run_id == flow_run_id:
            return self.own_attempt(flow_run_id, job.attempt or 1)
        return self._folder(
            flow_run_id, f"adopted-{_part('job', job.name)}", f"adopted-{_old_part(job.name)}"
        )

    def own_attempt(self, flow_run_id: FlowRunId, attempt: int) -> AttemptFolder:
        """Return where a flow run keeps what is about an attempt of its own, from 1."""
        return self._folder(flow_run_id, str(attempt), str(attempt))

    def usage(self, day: date) -> StorageKey:
        """Return where it is recorded what the agent's runs have used on a day (UTC), JSON."""
        file = f"usage/{day.isoformat()}.json"
        return StorageKey(f"{self._part}/{file}", f"{_old_part(self.agent_id)}/{file}")

    def session(self, task_id: str) -> StorageKey:
        """Return where it is noted which was the agent's last session on a task, JSON."""
        return StorageKey(
            f"{self._part}/sessions/{_part('task', task_id)}.json",
            f"{_old_part(self.agent_id)}/sessions/{_old_part(task_id)}.json",
        )

    def pushes(self, remote: str, branch: str) -> str:
        """Return where it is noted what was pushed to a branch of a remote, JSON."""
        return f"{self._part}/pushed/{_part('branch', branch, remote)}.json"

    @property
    def _part(self) -> str:
        return _part("agent", self.agent_id, self.namespace)

    def _folder(self, flow_run_id: FlowRunId, name: str, old_name: str) -> AttemptFolder:
        old_path = f"{_old_part(self.agent_id)}/{_old_part(flow_run_id)}/{old_name}"
        path = f"{self._part}/{_flow_run_part(flow_run_id)}/{name}"
        return AttemptFolder(self, flow_run_id, path, old_path)


def result_key(path: str) -> str:
    """Return the key of an attempt's result, JSON."""
    return f"{path}/result.json"


def transcript_key(path: str) -> str:
    """Return the key of an attempt's transcript: the agent's stdout lines, gzip."""
    return f"{path}/transcript.jsonl.gz"


def bundle_key(path: str, turn: int = 1) -> str:
    """Return the key of the Git bundle with what an attempt made of its repository.

    Checkpoints take turns in two sets of keys, 1 and 2, as do the next two.
    """
    return f"{path}/work{_turn(turn)}.bundle"


def patch_key(path: str, turn: int = 1) -> str:
    """Return the key of the binary patch with all that an attempt changed in its repository."""
    return f"{path}/changes{_turn(turn)}.patch"


def work_files_key(path: str, turn: int = 1) -> str:
    """Return the key of the list of all files that an attempt changed, JSON."""
    return f"{path}/work-files{_turn(turn)}.json"


def checkpoint_key(path: str) -> str:
    """Return the key of the note about an attempt's last checkpoint, JSON."""
    return f"{path}/checkpoint.json"


def _turn(turn: int) -> str:
    return "" if turn == 1 else f"-{turn}"


# All agents' usage records, of this version and earlier ones.
USAGE_PATTERN = "*/usage/*.json"


def usage_keys_of(keys: Iterable[str], days: Iterable[date]) -> list[str]:
    """Return those of the keys of usage records that are of these days."""
    wanted = {day.isoformat() for day in days}
    return [key for key in keys if PurePosixPath(key).stem in wanted]


def usage_csv_key(since: date, until: date) -> str:
    """Return the key of a usage report; with a dot, which no agent's folder has."""
    return f"usage.reports/usage-{since.isoformat()}-to-{until.isoformat()}.csv"


def _part(kind: str, text: str, *further: str) -> str:
    slug = slug_of(text, _SLUG_LIMIT)
    # JSON keeps the ids apart, whatever characters they contain.
    digest = sha256(json.dumps([kind, text, *further]).encode()).hexdigest()[:_HASH_DIGITS]
    return f"{slug}-{digest}" if slug else digest


def _flow_run_part(flow_run_id: FlowRunId) -> str:
    try:
        if str(UUID(flow_run_id)) == flow_run_id:
            return flow_run_id
    except ValueError:
        pass  # no UUID: made one that no other id has
    return _part("flow-run", flow_run_id)


def _old_part(text: str) -> str:
    quoted = quote(text, safe="", errors="replace").replace(".", "%2E")
    return quoted[:_OLD_PART_LIMIT]
