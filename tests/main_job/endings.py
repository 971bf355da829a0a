"""A run in the hands of a test: started, disturbed at its work, and read when it is over."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.main_job.conftest import CliRun, PrefectServer, Traces, plain

AGENT_ID = "claude-jobs.dev/agent-id"
# A session of several lines, slow enough to be met at work.
AT_WORK = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "2"}
_FIRST_WORDS = "assistant: "


@dataclass(frozen=True)
class EndedRun:
    """What people find of a run that is over."""

    result: dict[str, Any]
    state: dict[str, Any]
    artifacts: dict[str, str]

    @property
    def verdict(self) -> tuple[Any, ...]:
        """Code, cause and exit code, and what the run list shows."""
        found = self.result
        return found["error_code"], found["cause"], found["exit_code"], self.state["name"]

    def assert_told(self, *words: str) -> None:
        """The run's page has these words: its sentence, which is the state's too, or its table."""
        rows = [f"{name.lower()} {value}" for name, value in self.result["observed"]]
        told = "; ".join([self.result["message"], *rows, self.result["check_first"] or ""])
        assert [word for word in words if word not in told] == []
        assert self.state["message"] == self.result["message"]

    def assert_proven(self, *words: str) -> None:
        """The forensics hold the proof."""
        forensics = self.artifacts["forensics"]
        assert [word for word in words if word not in forensics] == []
        assert self.result["facts_used"]


@dataclass
class StartedRun:
    """A run whose command is at work."""

    process: "subprocess.Popen[str]"
    agent_id: str
    namespace: str
    traces: Traces
    server: PrefectServer
    _read: list[str] = field(default_factory=list[str])

    @property
    def job(self) -> Any:
        """Its Job, as the API gives it."""
        return next(job for job in self.traces.jobs(self.namespace) if self._is_ours(job))

    @property
    def job_name(self) -> str:
        return str(self.job["metadata"]["name"])

    @property
    def pod_name(self) -> str:
        """Its first pod's name."""
        pods = [pod for pod in self.traces.pods(self.namespace) if self._is_ours(pod)]
        return min(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])["metadata"]["name"]

    def _is_ours(self, found: Any) -> bool:
        return found["metadata"].get("annotations", {}).get(AGENT_ID) == self.agent_id

    def wait_for(self, words: str = _FIRST_WORDS) -> None:
        """Read along until these words are shown; by default the agent's first."""
        assert self.process.stdout
        for line in self.process.stdout:
            self._read.append(line)
            if words in plain(line):
                return
        raise AssertionError(f"{words!r} was not said:\n{''.join(self._read)}")

    def end(self, seconds: float = 80) -> EndedRun:
        """Wait for the command's end and read what it has left."""
        rest, _ = self.process.communicate(timeout=seconds)
        ended = CliRun(self.process.returncode, "".join(self._read) + rest)
        result = ended.result
        assert ended.exit_code == (0 if result["error_code"] is None else 1), ended.output
        flow_run_id = result["flow_run_id"]
        kinds = {
            artifact["key"].rsplit("-", 2)[-2]: artifact["data"]
            for artifact in self.server.artifacts(flow_run_id)
        }
        return EndedRun(result, self.server.flow_run(flow_run_id)["state"], kinds)


StartRun = Callable[..., StartedRun]
