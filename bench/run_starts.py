"""From a run's start until its agent can start: how long, and how often it waits for an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.counting_proxy import NotedRequest
from bench.figures import SPREAD_COLUMNS, Goal, Table, count_round_trips, spread_rows

# Longer than a busy machine takes to send what is asked at the same moment.
DISTANCE_SECONDS = 0.5
_ROUND_TRIPS_MAX = 6
_PODS = "list pods"
_JOB, _SECRET = "create jobs.batch", "create secrets"
_LEASE = "update leases.coordination.k8s.io"
_ACCESS = "create selfsubjectaccessreviews.authorization.k8s.io"


@dataclass(frozen=True)
class Start:
    """A run that a command has carried out.

    Attributes:
        began_at: When the command was started.
        requests: Of the run, in their order.
    """

    began_at: float
    requests: Sequence[NotedRequest]

    @property
    def to_first_request_ms(self) -> float:
        """What Python and Prefect take."""
        return (self.requests[0].began_at - self.began_at) * 1000

    def from_first_request_ms(self, what: str) -> float:
        """From the first request until such a one was answered."""
        answered_at = next(it.head_at for it in self.requests if it.what == what)
        return (answered_at - self.requests[0].began_at) * 1000


def tell_starts(started: Sequence[Start], distant: Start) -> Table:
    """Tell how long it took, and by the run whose cluster is far away the round trips."""
    to_job = [it.from_first_request_ms(_JOB) for it in started]
    to_request = [it.to_first_request_ms for it in started]
    samples = {
        "from the first request to the Job": to_job,
        "from the first request to the Secret": [
            it.from_first_request_ms(_SECRET) for it in started
        ],
        "`claude-jobs run` to its first request": to_request,
        "`claude-jobs run` to the Job": [
            one + other for one, other in zip(to_request, to_job, strict=True)
        ],
    }
    before, awaited = _until_secret(distant.requests)
    trips = count_round_trips([(it.began_at, it.head_at) for it in awaited])
    began_at = awaited[0].began_at
    steps = sorted(awaited, key=lambda it: it.head_at)
    sequence = ", ".join(f"{it.what} {(it.head_at - began_at) * 1000:.0f}" for it in steps)
    return Table(
        "(f) from a run's start until its agent can start, ms",
        ("", *SPREAD_COLUMNS),
        spread_rows(samples, "from the first request to the Job"),
        (Goal("round trips to the Kubernetes API", trips, _ROUND_TRIPS_MAX),),
        (
            f"Counted where each answer is {DISTANCE_SECONDS * 1000:.0f} ms late: {len(before)} "
            f"requests in all; awaited, with the ms until answered: {sequence}.",
        ),
    )


def _until_secret(
    requests: Sequence[NotedRequest],
) -> tuple[Sequence[NotedRequest], Sequence[NotedRequest]]:
    """Return the requests up to the Secret, and those of them that the start waits for.

    Whether commands may be run in pods is asked beside the guard, which lists Jobs and pods
    together. The first list of pods after the Job tells the pod that the Secret names; it and the
    commit wait for the Job alone, so only the later of the two is waited for.
    """
    secret = next(it for it in requests if it.what == _SECRET)
    before = [it for it in requests if it.began_at <= secret.began_at]
    job = next(number for number, it in enumerate(before) if it.what == _JOB)
    after = before[job + 1 :]
    commit = next(it for it in after if it.what == _LEASE)
    pods = next(it for it in after if it.what == _PODS)
    together = pods.began_at < commit.head_at
    awaited = [
        *(it for it in before[:job] if it.what not in {_ACCESS, _PODS}),
        before[job],
        *([max(commit, pods, key=lambda it: it.head_at)] if together else [commit, pods]),
        secret,
    ]
    return before, awaited
