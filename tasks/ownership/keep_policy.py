"""What happens to a Job after its run was reported."""

from dataclasses import dataclass
from typing import Literal, assert_never

from tasks.agent_job.runtime_spec import Retention

# Spelled as in the API. Nobody has to wait for the pods of a finished Job.
Propagation = Literal["Background", "Foreground"]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the Job, with its UID as precondition."""

    propagation: Propagation


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
    retention: Retention, *, succeeded: bool, ended: bool, agent_running: bool
) -> CleanupVerdict:
    """Return what to do with a Job after its result was stored and reported.

    An unfinished Job, or one whose agent was last seen running, is never changed.

    Args:
        retention: The keep policy and the times for Jobs whose result is stored.
        succeeded: Whether the run succeeded.
        ended: Whether the Job was observed to have finished.
        agent_running: Whether the agent's container was last seen running.
    """
    if agent_running:
        return Leave("the agent's container was last seen running")
    if not ended:
        return Leave("the Job's end was not observed")
    match retention.keep:
        case "never":
            return Delete("Background")
        case "on_failure" if succeeded:
            return LowerTtl(retention.harvested_seconds)
        case "on_failure":
            return LowerTtl(retention.kept_failure_seconds)
        case "always":
            return Leave("the keep policy is `always`")
        case _:
            assert_never(retention.keep)
