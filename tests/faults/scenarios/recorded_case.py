"""Recorded scenarios: what was asked for, and the agent that does what the container did."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from tests.embedded.local_api import ROOT
from tests.embedded_cluster import REPLAY_IMAGE

_CASES = ROOT / "tests" / "data" / "cases" / "execute.json"
_LABEL = "paperclip.io/"
_UNTIL_LET_GO = 'while [ ! -e "$GATE" ]; do sleep 0.1; done'
_FOREVER = "exec sleep 600"
_LITTLE_MEMORY = "64Mi"
_LARGE_PROMPT_FIELD = "promptTemplate"
SMALL = {
    "cpu_request": "10m",
    "memory_request": "16Mi",
    "memory_limit": "256Mi",
    "ephemeral_storage_request": "1Mi",
    "ephemeral_storage_limit": "1Gi",
    "transcript_storage_limit": "64Mi",
}


@dataclass(frozen=True)
class EarlierJob:
    """A Job that was there before, of a run whose process is gone.

    Attributes:
        is_same_run: It belongs to the very run that is then made.
        works: Its agent says its lines and ends; else it stays silent.
    """

    task_id: str | None
    session_id: str | None
    is_same_run: bool
    is_deleted: bool
    works: bool
    conditions: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class RecordedCase:
    """One scenario as it was recorded."""

    name: str
    given: dict[str, Any]
    expected: dict[str, Any]

    @property
    def lines(self) -> list[bytes]:
        """What the container prints, line by line."""
        return [_text(line["text"]).encode() for line in self.given["lines"]]

    @property
    def output(self) -> bytes:
        """The same as bytes; the last line may lack its newline."""
        ends_open = any(line.get("noNewline") for line in self.given["lines"])
        text = b"".join(line + b"\n" for line in self.lines)
        return text[:-1] if ends_open else text

    @property
    def earlier(self) -> EarlierJob | None:
        """The Job that was there before; at most one was recorded."""
        for job in self.given.get("existingJobs", []):
            labels = job["labels"]
            return EarlierJob(
                task_id=labels.get(f"{_LABEL}task-id"),
                session_id=labels.get(f"{_LABEL}session-id"),
                is_same_run=labels[f"{_LABEL}run-id"] == "run-1",
                is_deleted=bool(job.get("deletionTimestamp")),
                works=bool(job.get("live")) or labels[f"{_LABEL}run-id"] == "run-1",
                conditions=tuple(job.get("conditions", [])),
            )
        return None

    @property
    def phases(self) -> list[dict[str, Any]]:
        """The pod states that were reported before the normal course of things."""
        return self.given.get("pod", {}).get("phases", [])

    def script(self, *, waits: bool = False) -> str:
        """Return what the agent's shell runs: the recorded lines at their times, and the end.

        Args:
            waits: It goes on after its lines only when it is let go.
        """
        steps, at_ms = self._printing()
        if waits:
            steps = f"{steps}; {_UNTIL_LET_GO}"
        ending = self.given["exit"]
        if self.given.get("neverExits"):
            return f"{steps}; {_FOREVER}"
        wait = f"sleep {(ending['atMs'] - at_ms) / 1000:g}"
        if ending.get("reason") == "OOMKilled":
            # It keeps what it reads, which never ends.
            return f"{steps}; {wait}; exec tail /dev/zero"
        return f"{steps}; {wait}; exit {ending.get('code', 0)}"

    def earlier_script(self) -> str:
        """Return what the agent of the earlier Job runs."""
        if self.earlier is None or not self.earlier.works:
            return _FOREVER
        steps, _ = self._printing(waits_at_last_line=True)
        return steps

    def _printing(self, *, waits_at_last_line: bool = False) -> tuple[str, int]:
        steps, at_ms = ["true"], 0
        for number, line in enumerate(self.given["lines"], start=1):
            if waits_at_last_line and number == len(self.given["lines"]):
                # After its result it would be ended, if the next run takes long to start.
                steps.append(_UNTIL_LET_GO)
            steps.append(f"sleep {(line['atMs'] - at_ms) / 1000:g}")
            newline = "" if line.get("noNewline") else r"\n"
            steps.append(f"printf '%s{newline}' {shlex.quote(_text(line['text']))}")
            at_ms = line["atMs"]
        return "; ".join(steps), at_ms

    def request(self) -> dict[str, Any]:
        """Return the same demand on ours, but for the namespace and the agent's id."""
        driver = self.given["driver"]
        config = driver.get("config", {})
        request: dict[str, Any] = {
            "task_id": driver["task"],
            "prompt": _prompt(config.get(_LARGE_PROMPT_FIELD)),
            "env": {"AGENT_SCRIPT": self.script()},
            "workspace": _workspace(driver.get("context", {}).get("paperclipWorkspace", {})),
        }
        if driver.get("timeoutSec"):
            request["timeout_seconds"] = driver["timeoutSec"]
        if driver.get("session"):
            request["session_id"] = driver["session"]
        out_of_memory = self.given["exit"].get("reason") == "OOMKilled"
        runtime: dict[str, Any] = {
            "image": REPLAY_IMAGE,
            "resources": {**SMALL, "memory_limit": _LITTLE_MEMORY} if out_of_memory else SMALL,
            "reattach": config.get("reattachOrphanedJobs", True),
        }
        if config.get("retainJobs"):
            runtime["retention"] = {"keep": "always"}
        return {**request, "runtime": runtime}

    def earlier_request(self, earlier: EarlierJob) -> dict[str, Any]:
        """Return the demand that the earlier Job came from."""
        request = self.request()
        request["env"] = {"AGENT_SCRIPT": self.earlier_script()}
        for field, value in (("task_id", earlier.task_id), ("session_id", earlier.session_id)):
            request.pop(field, None)
            if value is not None:
                request[field] = value
        return request


def _text(recorded: Any) -> str:
    if isinstance(recorded, str):
        return recorded
    if recorded.get("type") == "result":
        # Every result of the real CLI has it; the recording's short form leaves a false one out.
        recorded = {"is_error": False, **recorded}
    return json.dumps(recorded, separators=(",", ":"))


def _prompt(template: Any) -> str:
    if template is None:
        return "Say hello."
    text, times = template["$repeat"]
    return text * times


def _workspace(recorded: dict[str, str]) -> dict[str, str]:
    names = {
        "cwd": "cwd",
        "workspaceId": "id",
        "repoUrl": "repo_url",
        "repoRef": "repo_ref",
    }
    return {names[name]: value for name, value in recorded.items()}


def read_recorded_cases() -> dict[str, RecordedCase]:
    """Return all recorded scenarios by name."""
    raw: list[dict[str, Any]] = json.loads(_CASES.read_text())
    return {each["name"]: RecordedCase(each["name"], each["input"], each["expect"]) for each in raw}
