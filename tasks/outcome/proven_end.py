"""Whether the end of an agent needs no word of the Job: output and container agree on it.

The Job controller works in batches and calls a Job finished a second and more after its container
has ended. What it then says can change a verdict only where somebody else has ended the agent.
"""

from tasks.observation.snapshots import JobSnapshot, PodSnapshot
from tasks.outcome.run_facts import is_exit_by_signal
from tasks.outcome.run_result import TranscriptProof
from tasks.transcript.line_grammar import Trailer

# What the kubelet says of a process that has exited; every other reason is the node's doing.
_EXITED = frozenset({"Completed", "Error"})


def end_is_proven(
    proof: TranscriptProof,
    trailer: Trailer | None,
    pod: PodSnapshot | None,
    job: JobSnapshot | None,
) -> bool:
    """Tell whether the agent exited by itself, or at its own limit, with all output delivered.

    All of these hold: the delivered lines have the trailer's count and hash; the script started the
    agent; its exit code is the container's, and no signal's; nobody is deleting pod or Job, and the
    cluster has not given up either.

    Args:
        proof: Of the output that was delivered.
        trailer: The run script's account.
        pod: The agent's, as last seen.
        job: Its Job, as last seen.
    """
    agent = pod.agent if pod is not None else None
    ended = agent.terminated if agent is not None else None
    if pod is None or ended is None or trailer is None or proof.complete is not True:
        return False
    left_alone = not (pod.deleting or pod.disruption or pod.reason) and not (
        job is not None and (job.deleting or job.failing)
    )
    agree = ended.exit_code == trailer.exit_code and ended.reason in _EXITED
    by_itself = trailer.timed_out or not is_exit_by_signal(trailer.exit_code)
    return left_alone and agree and by_itself and trailer.refused is None
