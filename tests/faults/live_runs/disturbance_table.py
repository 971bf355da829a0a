"""What must not end or delete a live run, and how the embedded cluster brings it about."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Disturbance:
    """One row; the agent prints lines all the while, unless it is silent.

    Attributes:
        name: What happens.
        is_silent: The agent prints nothing meanwhile.
        first_rules: Faults that are there before the run; their namespace is filled in. Those with
            `times` have all come about before the agent ends.
        rules: The same from when the agent works.
        actions: Done to the cluster when the agent works.
        settings: Of the cluster, while the agent works and ends.
        lasts_seconds: How long the agent works on at least.
        end_is_known_after_seconds: How long after the agent's end the run ends at the earliest.
        quick: It is of the slice.
    """

    name: str
    is_silent: bool = False
    first_rules: tuple[dict[str, Any], ...] = ()
    rules: tuple[dict[str, Any], ...] = ()
    actions: tuple[dict[str, Any], ...] = ()
    settings: dict[str, float] = field(default_factory=dict[str, float])
    lasts_seconds: float = 2.0
    end_is_known_after_seconds: float = 0.0
    quick: bool = False


def _stream(
    verb: str, resource: str, after_seconds: float, end: str, times: int | None
) -> dict[str, Any]:
    effect = {"stream": {"afterSeconds": after_seconds, "end": end}}
    return {"match": {"verb": verb, "resource": resource}, "times": times, "do": effect}


def _reads(times: int, effect: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Have so many of each kind of read fail that tells how the run is going."""
    reads = (("get", "jobs"), ("list", "jobs"), ("list", "pods"))
    return tuple(
        {"match": {"verb": verb, "resource": resource}, "times": times, "do": effect}
        for verb, resource in reads
    )


# Where watches never last, what is known comes from reads.
_SHORT_WATCHES = tuple(_stream("watch", kind, 1.0, "cut", None) for kind in ("jobs", "pods"))
_EXPIRED = {"expire": True}

TABLE = (
    Disturbance("silence of 30 s", is_silent=True, lasts_seconds=30, quick=True),
    Disturbance("silence of 6 minutes", is_silent=True, lasts_seconds=360),
    Disturbance(
        "log stream cut six times",
        first_rules=(_stream("get", "pods/log", 0.5, "cut", 6),),
        lasts_seconds=12,
        quick=True,
    ),
    Disturbance(
        "log stream that ends early six times",
        first_rules=(_stream("get", "pods/log", 0.5, "eof", 6),),
        lasts_seconds=12,
    ),
    Disturbance(
        "log stream that falls silent",
        first_rules=(_stream("get", "pods/log", 1.0, "hang", 1),),
        lasts_seconds=10,
    ),
    Disturbance(
        "log stream cut, and six requests for another one failed",
        first_rules=(
            _stream("get", "pods/log", 1.0, "cut", 1),
            {"match": {"resource": "pods/log"}, "skip": 1, "times": 6, "do": {"status": 500}},
        ),
    ),
    Disturbance("watches that are cut every second", first_rules=_SHORT_WATCHES, lasts_seconds=8),
    Disturbance(
        "watches that fall silent",
        first_rules=tuple(_stream("watch", kind, 0.0, "hang", None) for kind in ("jobs", "pods")),
        lasts_seconds=35,
    ),
    Disturbance(
        "Job condition 60 s late",
        settings={"lateConditionSeconds": 60},
        # The grace for it: what is known of the container is enough then.
        end_is_known_after_seconds=29,
    ),
    Disturbance(
        "container's end reported 60 s late",
        settings={"lateStatusSeconds": 60},
        end_is_known_after_seconds=59,
    ),
    Disturbance(
        "one failed read", first_rules=_SHORT_WATCHES, rules=_reads(1, {"status": 500}), quick=True
    ),
    Disturbance("five failed reads", first_rules=_SHORT_WATCHES, rules=_reads(5, {"status": 500})),
    Disturbance("five reads cut", first_rules=_SHORT_WATCHES, rules=_reads(5, {"drop": True})),
    Disturbance(
        "410 for every watch and list",
        first_rules=_SHORT_WATCHES,
        rules=tuple(
            {"match": {"verb": verb, "resource": kind}, "times": 3, "do": _EXPIRED}
            for verb in ("watch", "list")
            for kind in ("jobs", "pods")
        ),
        quick=True,
    ),
    Disturbance(
        "history forgotten, so that a watch is answered 410",
        first_rules=_SHORT_WATCHES,
        actions=({"do": "compact"},),
        lasts_seconds=5,
    ),
    Disturbance(
        "API away for 10 s", actions=({"do": "restart-api", "downSeconds": 10},), lasts_seconds=12
    ),
    Disturbance(
        "API away for 5 minutes",
        actions=({"do": "restart-api", "downSeconds": 300},),
        lasts_seconds=302,
    ),
)
