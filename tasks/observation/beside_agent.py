"""Containers beside the agent's: they may hold up its start, and outlive it.

A native sidecar (an init container that is started again whenever it ends) must have started before
the agent's container is, and the kubelet ends it after the agent's. A plain container is not ended
by anybody: while it runs, its Job is not finished, and nothing of it has a TTL. So a Job is judged
by the end of its agent's container, not by its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.observation.container_states import ContainerSnapshot, without_passed
from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.vocabulary.names import AGENT_CONTAINER


@dataclass(frozen=True, slots=True)
class AgentEnd:
    """The end of an agent whose Job is not finished.

    Attributes:
        at: When its container ended, by the node's clock; `None` where nobody saw that.
        still_running: The other containers of its pod that have not ended, by name.
    """

    at: datetime | None = None
    still_running: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The state of the Job in words, without a full stop."""
        return "its agent has ended" + (
            f", but {describe_running(self.still_running)}" if self.still_running else ""
        )


def find_agent_end(job: JobSnapshot, pods: Sequence[PodSnapshot]) -> AgentEnd | None:
    """Return how the agent of an unfinished Job ended; `None` if it works, or may yet start.

    Args:
        job: The Job.
        pods: All of its pods that there are.
    """
    with_ending = [pod for pod in pods if pod.agent is not None and pod.agent.terminated]
    if job.finished or not with_ending or not all(pod.agent_ended for pod in pods):
        return None
    endings = [pod.agent.terminated for pod in with_ending if pod.agent and pod.agent.terminated]
    instants = [ended.finished_at for ended in endings if ended.finished_at is not None]
    running = dict.fromkeys(name for pod in pods for name in still_running(pod))
    return AgentEnd(max(instants, default=None), tuple(running))


def is_over(job: JobSnapshot, pods: Sequence[PodSnapshot]) -> bool:
    """Return whether no agent works in a Job, or will: it, or its agent, has ended."""
    return job.over or find_agent_end(job, pods) is not None


def still_running(pod: PodSnapshot | None) -> tuple[str, ...]:
    """Return the names of the plain containers that have not ended although the agent's has.

    Native sidecars are left out: the kubelet is about to end them.
    """
    if pod is None or pod.ended or not pod.agent_ended:
        return ()
    others = (item for item in pod.containers if item.name != AGENT_CONTAINER)
    return tuple(item.name for item in others if item.terminated is None)


def describe_running(names: Sequence[str]) -> str:
    """Return which containers still run, as a clause; there must be one."""
    if len(names) == 1:
        return f"container {names[0]} still runs"
    return f"containers {', '.join(names)} still run"


def find_unstarted(pod: PodSnapshot) -> tuple[ContainerSnapshot, str] | None:
    """Return which native sidecar keeps the agent's container from starting, and why, in words."""
    sidecars = (item for item in without_passed(pod.init_containers) if item.runs_beside)
    found = ((sidecar, _why_unstarted(sidecar)) for sidecar in sidecars)
    return next(((sidecar, why) for sidecar, why in found if why), None)


def find_preparing(pod: PodSnapshot) -> ContainerSnapshot | None:
    """Return the init container that runs now and must end before the agent's can start."""
    found = (item for item in pod.init_containers if item.running and not item.runs_beside)
    return next(found, None)


def _why_unstarted(sidecar: ContainerSnapshot) -> str | None:
    before = f"container {sidecar.name}, which must start before the agent's,"
    if sidecar.terminated is not None:
        return f"{before} {sidecar.terminated.words} and is started again"
    if sidecar.running is not None and sidecar.started is False:
        return f"{before} runs, but its startup probe has not succeeded yet"
    waiting = sidecar.waiting
    if waiting is None or waiting.reason in {None, "PodInitializing", "ContainerCreating"}:
        return None
    return f"{before} waits: {waiting.reason}" + (f": {waiting.message}" if waiting.message else "")
