"""Errors that end a run with a code.

AgentRunError                has an `ErrorCode`, a sentence for people, and advice
└── InputInvalid             the request or a block is invalid; nothing was created
PrefectUnusable              Prefect's API gave no usable answer; has a sentence and advice
"""

from tasks.vocabulary.error_codes import Cause, ErrorCode


class AgentRunError(Exception):
    """A stage ended the run; `str()` is the sentence for people.

    Attributes:
        advice: What to do, if the sentence does not say it.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        cause: Cause | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.cause = cause
        self.advice = advice

    def with_more(self, sentence: str) -> "AgentRunError":
        """Return the same ending with one more sentence in its message."""
        return AgentRunError(
            self.code, f"{self.message} {sentence}", cause=self.cause, advice=self.advice
        )


class InputInvalid(AgentRunError):
    """The request or a block is invalid; nothing was created."""

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.INPUT_INVALID) -> None:
        super().__init__(code, message)


class PrefectUnusable(Exception):
    """Prefect's API gave no usable answer; `str()` is the sentence for people.

    Attributes:
        advice: What to do.
    """

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
