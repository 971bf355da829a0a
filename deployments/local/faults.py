"""Faults that are switched on by rules: which calls they meet, and what happens to those.

Everything random comes from one seeded generator, drawn in the order of the calls.
"""

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, cast

from deployments.local.api_errors import ApiError
from deployments.local.objects import format_micro_time, mapped, now
from deployments.local.resources import JsonObject
from deployments.local.routing import Request

_JOURNAL_LENGTH = 1000
_MATCH_FIELDS = ("verb", "resource", "namespace", "name", "user")
_EFFECTS = ("status", "delaySeconds", "hold", "drop", "stream", "staleBy", "expire")
_STREAM_ENDS = ("cut", "hang", "eof")


class RuleError(Exception):
    """A rule cannot be read; the text says why."""


class ConnectionDrop(Exception):
    """The connection must be closed without an answer."""


@dataclass
class Rule:
    """One fault.

    Attributes:
        id: Name for taking it away again.
        match: Patterns (`*`, `?`) for verb, resource (`pods/log`), namespace, name and user.
        effect: What happens; see the package's README.
        skip: How many matching calls pass first.
        times: How many calls it meets after those; None for all.
        probability: Of each of them.
        seen: Matching calls so far.
        fired: Calls that it has met.
    """

    id: str
    match: dict[str, str]
    effect: JsonObject
    skip: int = 0
    times: int | None = 1
    probability: float = 1.0
    seen: int = 0
    fired: int = 0

    def describe(self) -> JsonObject:
        """Return the rule as JSON, with its counts."""
        return {
            "id": self.id,
            "match": self.match,
            "skip": self.skip,
            "times": self.times,
            "probability": self.probability,
            "do": self.effect,
            "seen": self.seen,
            "fired": self.fired,
        }

    @property
    def is_after(self) -> bool:
        """Whether the call takes effect first."""
        return bool(self.effect.get("after"))


def parse_rule(raw: Any, default_id: str) -> Rule:
    """Read a rule.

    Raises:
        RuleError: It has an unknown field or no effect.
    """
    if not isinstance(raw, dict):
        raise RuleError("a rule must be an object")
    rule: JsonObject = raw  # pyright: ignore[reportUnknownVariableType] # JSON
    unknown = set(rule) - {"id", "match", "skip", "times", "probability", "do"}
    unknown |= set(mapped(rule, "match")) - set(_MATCH_FIELDS)
    effect = mapped(rule, "do")
    unknown |= set(effect) - {*_EFFECTS, "after", "reason", "message", "retryAfterSeconds"}
    if unknown:
        raise RuleError(f"unknown: {', '.join(sorted(unknown))}")
    if not set(effect) & set(_EFFECTS):
        raise RuleError(f"`do` needs one of {', '.join(_EFFECTS)}")
    if mapped(effect, "stream").get("end", "cut") not in _STREAM_ENDS:
        raise RuleError(f"`end` must be one of {', '.join(_STREAM_ENDS)}")
    return Rule(
        id=rule.get("id", default_id),
        match=mapped(rule, "match"),
        effect=effect,
        skip=rule.get("skip", 0),
        times=rule.get("times", 1),
        probability=rule.get("probability", 1.0),
    )


@dataclass(frozen=True)
class StreamLimit:
    """Where a stream goes wrong.

    Attributes:
        after_bytes: That many bytes get through; None for no such limit.
        after_seconds: Time from the stream's start; None for no such limit.
        end: `cut` breaks the connection, `hang` keeps it open and silent, `eof` ends it properly.
    """

    after_bytes: int | None
    after_seconds: float | None
    end: str


@dataclass
class CallFaults:
    """What meets one call.

    Attributes:
        rules: In the order in which they were added.
        delays: Seconds by rule id, drawn already.
    """

    rules: list[Rule]
    delays: dict[str, float]
    label: str

    @property
    def stale_by(self) -> int:
        """How many writes old a list must be."""
        return max((int(r.effect.get("staleBy", 0)) for r in self.rules), default=0)

    @property
    def expires(self) -> bool:
        """Whether the resourceVersion must be too old."""
        return any(r.effect.get("expire") for r in self.rules)

    @property
    def stream_limit(self) -> StreamLimit | None:
        """How the stream of the answer goes wrong."""
        for rule in self.rules:
            limit = mapped(rule.effect, "stream")
            if limit:
                return StreamLimit(
                    limit.get("afterBytes"), limit.get("afterSeconds"), limit.get("end", "cut")
                )
        return None


@dataclass
class _Hold:
    released: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list[str])


class FaultEngine:
    """Keeps the rules, decides which calls they meet, and holds calls at barriers."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.journal: deque[JsonObject] = deque(maxlen=_JOURNAL_LENGTH)
        self.counts: dict[str, int] = {}
        self.seed = 0
        self._random = random.Random(0)
        self._holds: dict[str, _Hold] = {}
        self._held_more = asyncio.Condition()
        self._last_id = 0

    def reseed(self, seed: int) -> None:
        """Begin the random choices anew."""
        self.seed = seed
        self._random = random.Random(seed)

    def add(self, raw_rules: list[Any]) -> list[str]:
        """Add rules and return their ids.

        Raises:
            RuleError: One of them cannot be read; none is added then.
        """
        rules: list[Rule] = []
        for raw in raw_rules:
            self._last_id += 1
            rules.append(parse_rule(raw, f"rule-{self._last_id}"))
        self.rules += rules
        return [rule.id for rule in rules]

    def remove(self, rule_id: str | None = None) -> None:
        """Take a rule away, or all; releases every call that is held by one of them."""
        for rule in self.rules:
            if rule_id in (None, rule.id) and "hold" in rule.effect:
                self.release(rule.effect["hold"])
        self.rules = [r for r in self.rules if rule_id is not None and r.id != rule_id]

    def meet(self, request: Request, user: str) -> CallFaults:
        """Return what meets a call; counts it."""
        label = f"{request.verb} {request.resource_name} {request.target.name}".strip()
        key = f"{request.verb} {request.resource_name}"
        self.counts[key] = self.counts.get(key, 0) + 1
        met: list[Rule] = []
        for rule in self.rules:
            if _matches(rule, request, user) and self._fires(rule):
                met.append(rule)
        delays = {
            r.id: self._draw(r.effect["delaySeconds"]) for r in met if "delaySeconds" in r.effect
        }
        for rule in met:
            self.journal.append(
                {"at": format_micro_time(now()), "call": label, "rule": rule.id, "do": rule.effect}
            )
        return CallFaults(met, delays, label)

    def _fires(self, rule: Rule) -> bool:
        rule.seen += 1
        if rule.seen <= rule.skip or (rule.times is not None and rule.fired >= rule.times):
            return False
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False
        rule.fired += 1
        return True

    def _draw(self, delay: Any) -> float:
        if not isinstance(delay, list):
            return float(delay)
        low, high = cast("list[float]", delay)
        return self._random.uniform(low, high)

    async def strike(self, faults: CallFaults, *, after: bool) -> None:
        """Let the faults of one moment happen.

        Args:
            faults: What meets the call.
            after: Whether the call has taken effect.

        Raises:
            ApiError: The call gets this answer.
            ConnectionDrop: The call gets none.
        """
        for rule in faults.rules:
            if rule.is_after is not after:
                continue
            if rule.id in faults.delays:
                await asyncio.sleep(faults.delays[rule.id])
            if "hold" in rule.effect:
                await self._hold(rule.effect["hold"], faults.label)
            if rule.effect.get("drop"):
                raise ConnectionDrop
            if "status" in rule.effect:
                raise _make_error(rule.effect)

    async def _hold(self, name: str, label: str) -> None:
        hold = self._holds.setdefault(name, _Hold())
        hold.calls.append(label)
        async with self._held_more:
            self._held_more.notify_all()
        try:
            await hold.released.wait()
        finally:
            hold.calls.remove(label)

    def release(self, name: str) -> int:
        """Let all calls at a barrier go on; returns how many there were. Later calls are held."""
        hold = self._holds.pop(name, None)
        if hold is None:
            return 0
        count = len(hold.calls)
        hold.released.set()
        return count

    def held(self) -> dict[str, list[str]]:
        """Return the held calls by barrier."""
        return {name: list(hold.calls) for name, hold in self._holds.items()}

    async def wait_held(self, name: str, count: int, timeout_seconds: float) -> bool:
        """Wait until that many calls are held at a barrier; tells whether they were in time."""
        try:
            async with asyncio.timeout(timeout_seconds), self._held_more:
                await self._held_more.wait_for(lambda: len(self.held().get(name, [])) >= count)
        except TimeoutError:
            return False
        return True


def _matches(rule: Rule, request: Request, user: str) -> bool:
    values = {
        "verb": request.verb,
        "resource": request.resource_name,
        "namespace": request.target.namespace,
        "name": request.target.name,
        "user": user,
    }
    return all(fnmatchcase(values[key], pattern) for key, pattern in rule.match.items())


_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def _make_error(effect: JsonObject) -> ApiError:
    code = int(effect["status"])
    return ApiError(
        code,
        effect.get("reason", _REASONS.get(code, "")),
        effect.get("message", HTTPStatus(code).phrase),
        retry_after_seconds=effect.get("retryAfterSeconds"),
    )
