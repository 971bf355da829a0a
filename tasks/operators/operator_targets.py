"""From the name that a command is given to what it means."""

from tasks.operators.agent_listing import ClusterLook, Target, agents_of, find_target
from tasks.operators.operator_errors import NothingFound

_AGENTS_NAMED = 5


def require_target(look: ClusterLook, text: str) -> Target:
    """Return what a name means in the cluster.

    Raises:
        NothingFound: Nothing of that name is there.
    """
    target = find_target(look, text)
    if target is None:
        raise nothing_found(look, text)
    return target


def nothing_found(look: ClusterLook, text: str) -> NothingFound:
    """Return the refusal of a name that means nothing, with what might have been meant."""
    known = agents_of(look)
    more = ", …" if len(known) > _AGENTS_NAMED else ""
    agents = f"; its agents are {', '.join(known[:_AGENTS_NAMED])}{more}" if known else ""
    return NothingFound(
        f"Namespace {look.namespace} has no agent, Job or flow run {text!r}{agents}.",
        "`claude-jobs ls` shows what there is; `--namespace` and `--kubeconfig` choose where to "
        "look.",
    )
