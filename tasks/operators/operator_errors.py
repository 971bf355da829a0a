"""Why an operator's command was not carried out, first of all for want of what it names.

CommandRefused               one sentence, and what to do
├── NothingFound             nothing has that name
├── NotPossible              not possible in the current state; nothing was changed
└── NotDone                  it was started, but not seen to be completed
"""

from tasks.operators.agent_listing import ClusterLook, Target, agents_of, find_target

_AGENTS_NAMED = 5


class CommandRefused(Exception):
    """A command was not carried out; `str()` is the sentence for people.

    Attributes:
        advice: What to do.
    """

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class NothingFound(CommandRefused):
    """Nothing has that name."""


class NotPossible(CommandRefused):
    """The command is not possible in the current state; nothing was changed."""


class NotDone(CommandRefused):
    """It was started, but not seen to be completed in time."""


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
