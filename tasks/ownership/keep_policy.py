"""What happens to a Job after its run was reported.

Everything counts from the end of the agent's container. A plain container beside it may run on for
ever; its Job then never finishes, and the TTL controller leaves it alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from tasks.agent_job.runtime_spec import Retention
from tasks.observation.beside_agent import describe_running

# Spelled as in the API. Nobody has to wait for the pods of a finished Job.
Propagation = Literal["Background", "Foreground"]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the Job, with its UID as precondition.

    Attributes:
        reason: Why it does not keep its TTL; `None` where the keep policy says so.
    """

    propagation: Propagation
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LowerTtl:
    """Let the TTL controller delete the Job this many seconds after it finished."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Change nothing."""

    reason: str


CleanupVerdict = Delete | LowerTtl | Leave


def decide_cleanup(
    retention: Retention,
    *,
    succeeded: bool,
    ended: bool,
    agent_running: bool,
    still_running: Sequence[str] = (),
) -> CleanupVerdict:
    """Return what to do with a Job after its result was stored and reported.

    A Job whose agent was last seen running, or whose end nobody saw, is never changed. A successful
    one that another container keeps from finishing is deleted, since its TTL would never begin.

    Args:
        retention: The keep policy and the times for Jobs whose result is stored.
        succeeded: Whether the run succeeded.
        ended: Whether the Job was observed to have finished, or its agent to have ended.
        agent_running: Whether the agent's container was last seen running.
        still_running: Other containers that keep the Job from finishing, by name.
    """
    if agent_running:
        return Leave("the agent's container was last seen running")
    if not ended:
        return Leave("the agent's end was not observed")
    match retention.keep:
        case "never":
            return Delete("Background")
        case "on_failure" if succeeded and still_running:
            return Delete(
                "Background",
                f"{describe_running(still_running)} although the agent has ended, so the Job would "
                "not finish and its TTL would never begin",
            )
        case "on_failure" if succeeded:
            return LowerTtl(retention.harvested_seconds)
        case "on_failure":
            return LowerTtl(retention.kept_failure_seconds)
        case "always":
            return Leave("the keep policy is `always`")
        case _:
            assert_never(retention.keep)


def describe_remains(job_name: str, still_running: Sequence[str]) -> str:
    """Return what remains of a kept Job that another container keeps from finishing."""
    return (
        f"Job {job_name} does not finish, because {describe_running(still_running)} although the "
        "agent has ended: Job, pod and Secret remain until the Job's deadline, or until a sweep "
        "deletes them once the Job's TTL, counted from the agent's end, has passed."
    )
