import pytest

from flows.run.unexpected_failure import unexpected_failure, where_it_failed
from tasks.vocabulary.error_codes import Cause, ErrorCode

SECRET = "what-a-server-echoed"


def _raised() -> Exception:
    try:
        try:
            raise RuntimeError(SECRET)
        except RuntimeError as error:
            raise OSError("no space left") from error
    except OSError as error:
        return ExceptionGroup("unhandled errors in a TaskGroup", [error])


@pytest.mark.parametrize(
    ("job", "words"),
    [("agents/job-1", "Job agents/job-1 was not changed"), (None, "no Job was created")],
)
def test_unexpected_error_has_a_code_and_says_what_became_of_the_job(
    job: str | None, words: str
) -> None:
    failure = unexpected_failure(_raised(), job)

    assert (failure.code, failure.cause) == (ErrorCode.CLAUDE_FAILED, Cause.UNKNOWN)
    assert "OSError" in failure.message
    assert words in failure.message
    assert failure.advice


def test_place_of_an_unexpected_error_is_told_without_any_text_of_errors() -> None:
    told = where_it_failed(_raised())

    assert "OSError" in told
    assert "test_unexpected_failure.py" in told
    assert SECRET not in told
    assert "no space left" not in told
