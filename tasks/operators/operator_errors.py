"""Why an operator's command was not carried out.

CommandRefused               one sentence, and what to do
├── NothingFound             nothing of that name is there
├── NotPossible              what is there does not allow it
└── NotDone                  it was begun, and the end was not seen
"""


class CommandRefused(Exception):
    """A command was not carried out; `str()` is the sentence people read.

    Attributes:
        advice: What to do.
    """

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class NothingFound(CommandRefused):
    """Nothing of that name is there."""


class NotPossible(CommandRefused):
    """What is there does not allow it; nothing was changed."""


class NotDone(CommandRefused):
    """It was begun, and its end was not seen in time."""
