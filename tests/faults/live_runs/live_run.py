"""A run whose agent works until it is told to end, and what must be true of it then."""

import json
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.faults.agent_space import AgentSpace
from tests.faults.live_runs.disturbance_table import Disturbance
from tests.faults.run_processes import RunProcess, request_for
from tests.faults.world import World
from tests.waits import wait_until

_START_SECONDS = 60.0
_FAULTS_SECONDS = 150.0  # reads that fail are made again every ten seconds
_END_SECONDS = 150.0

_INIT: dict[str, Any] = {
    "type": "system",
    "subtype": "init",
    "session_id": "s",
    "model": "m",
    "tools": [],
}
_RESULT: dict[str, Any] = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "result": "Done.",
    "session_id": "s",
    "num_turns": 1,
    "duration_ms": 1,
    "total_cost_usd": 0.001,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def _word(number: int | str) -> str:
    content = [{"type": "text", "text": f"word {number}."}]
    message = {"id": f"m{number}", "role": "assistant", "content": content}
    return _json({"type": "assistant", "session_id": "s", "message": message})


def _json(event: dict[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"))


def agent_script(*, is_silent: bool) -> str:
    """Return what the agent's shell runs: lines until the gate is open, or nothing until then."""
    say = f'say() {{ echo {shlex.quote(_word("@"))} | sed "s/@/$1/g"; }}'
    until_open = 'while [ ! -e "$GATE" ]; do sleep 0.2; done'
    steady = 'seq 1 100000 | while read -r n; do say $n; [ -e "$GATE" ] && break; sleep 0.3; done'
    silent = f"say 1; say 2; {until_open}; say 3; say 4"
    end = f"echo {shlex.quote(_json(_RESULT))}"
    return f"{say}; echo {shlex.quote(_json(_INIT))}; {silent if is_silent else steady}; {end}"


class LiveRun(AgentSpace):
    """One run, its agent, and what happens to both."""

    def __init__(self, world: World, folder: Path) -> None:
        super().__init__(world)
        self._gate = folder / "gate"
        self._run: RunProcess

    def carry_out(self, row: Disturbance) -> dict[str, Any]:
        """Disturb a run; return how it ended, after it was seen to go on until then."""
        try:
            ids = self.add_faults(*row.first_rules)
            self._start(row)
            self._until_or_ended(self._is_at_work, _START_SECONDS)
            job_uid = self._only_job()["metadata"]["uid"]
            self.api.ok("PUT", "/_faults/settings", row.settings)
            ids += self.add_faults(*row.rules)
            for action in row.actions:
                self.api.ok("POST", "/_faults/actions", action)
            self._go_on(row.lasts_seconds)
            self._until_or_ended(lambda: self._have_come_about(ids), _FAULTS_SECONDS)
            assert self.is_live(), self._run.log
            self._gate.touch()
            opened_at = time.monotonic()
            outcome = self._run.wait(_END_SECONDS)
            assert time.monotonic() - opened_at >= row.end_is_known_after_seconds
            self._check_job(job_uid)
            self.check_nothing_is_left(are_kept=True)
            return outcome
        finally:
            self._run.kill()
            self.clear_away()

    def _start(self, row: Disturbance) -> None:
        request = request_for(self.agent_id, self.name, self.world.storage)
        request["env"] = {
            "AGENT_SCRIPT": agent_script(is_silent=row.is_silent),
            "GATE": str(self._gate),
        }
        # So that a Job which is gone in the end was deleted by somebody.
        request["runtime"]["retention"] = {"keep": "always"}
        self._run = self.world.host.start(request)

    def _is_at_work(self) -> bool:
        return self.is_live() and "word 2." in self._run.log

    def _go_on(self, seconds: float) -> None:
        """See that the run goes on for so long."""
        ends_at = time.monotonic() + seconds
        self._until_or_ended(lambda: time.monotonic() >= ends_at, seconds + 10)

    def _until_or_ended(self, condition: Callable[[], bool], seconds: float) -> None:
        def is_so() -> bool:
            assert self._run.outcome is None, f"{self._run.outcome}\n{self._run.log}"
            return condition()

        wait_until(is_so, seconds, describe=lambda: self._run.log)

    def _have_come_about(self, ids: list[str]) -> bool:
        try:
            rules = self.api.ok("GET", "/_faults")["rules"]
        except httpx.TransportError:  # the API is away
            return False
        counted = [rule for rule in rules if rule["id"] in ids and rule["times"] is not None]
        return all(rule["fired"] >= rule["times"] for rule in counted)

    def _only_job(self) -> Any:
        [job] = self.found_jobs
        return job

    def _check_job(self, uid: str) -> None:
        """See that the one Job is still there, with the one pod that it ever had."""
        job = self._only_job()
        assert job["metadata"]["uid"] == uid
        assert "deletionTimestamp" not in job["metadata"]
        assert len(self.world.record.pods_of(self.agent_id)) == 1

    def logged_words(self) -> list[int]:
        """Return the numbers of the agent's words in the run's log, in its order."""
        return [int(number) for number in re.findall(r"\bword (\d+)\.", self._run.log)]


def printed_lines(words: int) -> list[bytes]:
    """Return what an agent has printed that said so many words."""
    said = (_word(number) for number in range(1, words + 1))
    return [line.encode() for line in (_json(_INIT), *said, _json(_RESULT))]
