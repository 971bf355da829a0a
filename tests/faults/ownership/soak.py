"""Eight agents under random faults, evictions and kills, and what must hold all the same."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tasks.vocabulary.error_codes import ErrorCode
from tests.embedded.local_api import RUNS_USER
from tests.faults.ownership.rival_runs import Rivals
from tests.faults.run_processes import RunProcess
from tests.faults.world import World

_AGENTS = 8
_LINES = 17  # of the recording that the agents replay
_SLOW_LINE_SECONDS = 0.1
_SECRET_PROMPT = "The prompt that stands nowhere in a pod."
_RUN_BOUND_SECONDS = 240.0
_KILLED_WITHIN_SECONDS = 6.0
_DISTURB_EVERY_SECONDS = (3.0, 9.0)
_ENDED_BY_SIGNAL = {137, 143}

_WRITES = ("create", "update", "patch", "delete")
# Effect and probability, for every call of the runs; those of the test itself are met by none.
_FAULTS: tuple[tuple[dict[str, str], float, dict[str, Any]], ...] = (
    ({}, 0.03, {"status": 503, "reason": "ServiceUnavailable", "message": "busy"}),
    ({}, 0.02, {"drop": True}),
    ({}, 0.05, {"delaySeconds": [0.05, 1.0]}),
    *(({"verb": verb}, 0.05, {"status": 500, "after": True}) for verb in _WRITES),
    *(({"verb": verb}, 0.05, {"drop": True, "after": True}) for verb in _WRITES),
    ({"verb": "list"}, 0.02, {"expire": True}),
    ({"verb": "watch"}, 0.05, {"expire": True}),
    ({"verb": "watch"}, 0.2, {"stream": {"afterSeconds": 1, "end": "hang"}}),
    ({"resource": "pods/log"}, 0.2, {"stream": {"afterBytes": 5000, "end": "cut"}}),
)


@dataclass
class SoakReport:
    """What a soak did, and every invariant that it found broken."""

    seed: int
    seconds: float
    runs: int = 0
    kills: int = 0
    evictions: int = 0
    restarts: int = 0
    faults: int = 0
    endings: Counter[str] = field(default_factory=Counter[str])
    violations: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        endings = ", ".join(f"{name}: {count}" for name, count in self.endings.most_common())
        return (
            f"soak of {self.seconds:g} s, seed {self.seed}: {self.runs} runs, "
            f"{self.faults} faults, {self.kills} kills, {self.evictions} evictions, "
            f"{self.restarts} API restarts, violations = {len(self.violations)} ({endings})"
        )


class Soak:
    """One soak."""

    def __init__(self, world: World, seed: int, seconds: float) -> None:
        self._world = world
        self._seed = seed
        self._ends_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._evicted: set[str] = set()
        self._agents: list[Rivals] = []
        self.report = SoakReport(seed, seconds)

    def carry_out(self) -> SoakReport:
        """Run it all, then have every agent wake up once more, undisturbed, and leave nothing."""
        self._world.record.keep_secret(_SECRET_PROMPT)
        self._agents = [Rivals(self._world, _SLOW_LINE_SECONDS) for _ in range(_AGENTS)]
        self._world.api.faults(*_rules(), seed=self._seed)
        with ThreadPoolExecutor(_AGENTS) as pool:
            agents = [pool.submit(self._wake_up, *item) for item in enumerate(self._agents)]
            self._disturb(random.Random(self._seed))
            for agent in agents:
                agent.result()
        self.report.faults = self._take_faults_away()
        try:
            for rivals in self._agents:
                self._check_last_run(rivals)
        finally:
            for rivals in self._agents:
                rivals.clear_away()
        record = self._world.record
        self.report.violations += [*record.twins, *record.leaks, *record.deleted_alive()]
        return self.report

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def _wake_up(self, index: int, rivals: Rivals) -> None:
        """Start run after run of one agent, one or two at a time, and kill some of them."""
        chance = random.Random(f"{self._seed}/{index}")
        flow_run_id: str | None = None
        while not self._is_over:
            runs = [rivals.start(flow_run_id, _SECRET_PROMPT)]
            if chance.random() < 0.2:
                runs.append(rivals.start(None, _SECRET_PROMPT))
            flow_run_id = None
            killed_at = time.monotonic() + chance.uniform(0, _KILLED_WITHIN_SECONDS)
            if chance.random() < 0.5 and not self._ends_before(runs[0], killed_at):
                runs[0].kill()
                self._count_kill()
                self._expire_lease(rivals)
                flow_run_id = chance.choice([runs[0].flow_run_id, None])
                runs = runs[1:]
            for run in runs:
                self._check(rivals, run)

    def _ends_before(self, run: RunProcess, moment: float) -> bool:
        while run.outcome is None and time.monotonic() < moment:
            time.sleep(0.1)
        return run.outcome is not None

    def _count_kill(self) -> None:
        with self._lock:
            self.report.runs += 1
            self.report.kills += 1

    def _expire_lease(self, rivals: Rivals) -> None:
        while True:
            try:
                return rivals.expire_lease()
            except httpx.TransportError:
                # The API server is being restarted.
                time.sleep(0.2)

    def _check(self, rivals: Rivals, run: RunProcess) -> None:
        """See that a run has ended as it may."""
        try:
            outcome = run.wait(_RUN_BOUND_SECONDS)
        except AssertionError as error:
            self._violated(f"{rivals.agent_id}: no end: {error}")
            return run.kill()
        code = outcome["error_code"]
        with self._lock:
            self.report.runs += 1
            self.report.endings[code or "success"] += 1
        if code is not None and code not in set(ErrorCode):
            self._violated(f"{run.base.name} ended with {code}: {outcome}\n{run.log}")
        if "transcript" in outcome and outcome["transcript"]["complete"]:
            self._check_transcript(run, outcome)
        if code is None:
            self._check_success(run, outcome)

    def _check_transcript(self, run: RunProcess, outcome: dict[str, Any]) -> None:
        lines = self._world.stored_lines(outcome)
        evicted = outcome["kubernetes"]["job_uid"] in self._evicted
        if len(lines) != len(set(lines)) or (len(lines) != _LINES and not evicted):
            self._violated(f"{run.base.name}: {len(lines)} lines are said to be complete")

    def _check_success(self, run: RunProcess, outcome: dict[str, Any]) -> None:
        exit_code = self._world.record.exit_code(outcome["kubernetes"]["job_uid"])
        # None: the API server was being restarted when the container ended.
        if exit_code not in {0, None}:
            self._violated(f"{run.base.name} succeeded with exit code {exit_code}:\n{run.log}")

    def _disturb(self, chance: random.Random) -> None:
        """Restart the API server, forget its history, and evict agents, until the time is over."""
        while not self._is_over:
            time.sleep(chance.uniform(*_DISTURB_EVERY_SECONDS))
            match chance.choice(["restart-api", "compact", "evict-pod"]):
                case "evict-pod":
                    self._evict(chance.sample(self._agents, _AGENTS))
                case "compact":
                    self._act({"do": "compact"})
                case action:
                    self._act({"do": action, "downSeconds": 1})
                    self.report.restarts += 1

    def _evict(self, agents: list[Rivals]) -> None:
        """Evict the first of these agents that is alive."""
        alive = (self._world.record.live_pod(rivals.agent_id) for rivals in agents)
        pod = next((pod for pod in alive if pod is not None), None)
        if pod is None:
            return
        # Before it happens: the run may have ended when the answer comes.
        self._evicted.add(pod.job_uid)
        self.report.evictions += 1
        [namespace] = [item.name for item in agents if item.agent_id == pod.agent_id]
        self._act({"do": "evict-pod", "namespace": namespace, "name": pod.name})

    def _act(self, action: dict[str, Any]) -> None:
        try:
            self._world.api.call("POST", "/_faults/actions", action)
        except httpx.TransportError:
            # A restart cuts this connection too.
            return

    def _take_faults_away(self) -> int:
        """Return how many calls they have met."""
        while True:
            try:
                fired = sum(
                    rule["fired"] for rule in self._world.api.ok("GET", "/_faults")["rules"]
                )
                self._world.api.ok("DELETE", "/_faults")
            except httpx.TransportError:
                time.sleep(0.2)
            else:
                return fired

    def _check_last_run(self, rivals: Rivals) -> None:
        rivals.expire_lease()
        last = rivals.start(None, _SECRET_PROMPT)
        self._check(rivals, last)
        outcome = last.outcome
        if outcome is None or outcome["error_code"] is not None:
            self._violated(f"{rivals.agent_id} does not recover: {rivals.describe()}")
        for pod in self._world.record.pods_of(rivals.agent_id):
            if pod.exit_code in _ENDED_BY_SIGNAL and pod.job_uid not in self._evicted:
                self._violated(f"{pod.name} was ended though nobody cancelled it")
        try:
            rivals.check_nothing_is_left()
        except AssertionError as error:
            self._violated(f"{rivals.agent_id} leaves something: {error}")

    def _violated(self, what: str) -> None:
        with self._lock:
            self.report.violations.append(what)


def _rules() -> list[dict[str, Any]]:
    return [
        {
            "match": {**match, "user": RUNS_USER},
            "probability": probability,
            "times": None,
            "do": effect,
        }
        for match, probability, effect in _FAULTS
    ]
