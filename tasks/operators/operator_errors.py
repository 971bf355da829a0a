"""Why an operator's command was not carried out.

CommandRefused               one sentence, and what to do
├── NothingFound             nothing has that name
├── NotPossible              not possible in the current state; nothing was changed
└── NotDone                  it was started, but not seen to be completed
"""


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
