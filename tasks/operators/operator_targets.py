"""Finds what the name in a command refers to."""

from tasks.operators.agent_listing import ClusterLook, Target, agents_of, find_target
from tasks.operators.operator_errors import NothingFound

_AGENTS_NAMED = 5


def require_target(look: ClusterLook, text: str) -> Target:
    """Return what a name refers to in the cluster.

    Raises:
        NothingFound: Nothing has that name.
    """
    target = find_target(look, text)
    if target is None:
        raise nothing_found(look, text)
    return target


def nothing_found(look: ClusterLook, text: str) -> NothingFound:
    """Return the error for an unknown name, with the known ones."""
    known = agents_of(look)
    more = ", …" if len(known) > _AGENTS_NAMED else ""
    agents = f"; its agents are {', '.join(known[:_AGENTS_NAMED])}{more}" if known else ""
    return NothingFound(
        f"Namespace {look.namespace} has no agent, Job or flow run {text!r}{agents}.",
        "`claude-jobs ls` lists the agents; `--namespace` and `--kubeconfig` select where to look.",
    )
