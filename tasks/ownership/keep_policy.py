"""What becomes of a Job whose run has been reported."""

from dataclasses import dataclass
from typing import Literal, assert_never

from tasks.agent_job.runtime_spec import Retention

# By value as the API spells them. The pods of a Job that has ended need nobody to wait for them.
Propagation = Literal["Background", "Foreground"]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the Job, with a UID precondition."""

    propagation: Propagation


@dataclass(frozen=True, slots=True)
class LowerTtl:
    """Let the TTL controller delete the Job this many seconds after its end."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Change nothing."""

    reason: str


CleanupVerdict = Delete | LowerTtl | Leave


def decide_cleanup(
    retention: Retention, *, succeeded: bool, ended: bool, agent_running: bool
) -> CleanupVerdict:
    """Tell what to do with a Job after its result was stored and reported.

    A Job that has not ended, or whose agent's container was last seen running, is never touched.

    Args:
        retention: The keep policy, and seconds for Jobs whose result is stored.
        succeeded: Whether the run did what it was asked to do.
        ended: Whether the Job's end was observed.
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
