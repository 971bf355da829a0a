import pytest

from tasks.publishing.publish_failures import ADVICE, Refusal, api_failure, git_failure

GIT = [
    ("fatal: Authentication failed for 'https://h/r/'", Refusal.CREDENTIALS_REFUSED, False),
    (
        "fatal: could not read Username for 'https://h': terminal",
        Refusal.CREDENTIALS_REFUSED,
        False,
    ),
    ("git@h: Permission denied (publickey).", Refusal.CREDENTIALS_REFUSED, False),
    ("remote: Permission to o/r.git denied to robot.", Refusal.NOT_PERMITTED, False),
    ("error: The requested URL returned error: 403", Refusal.NOT_PERMITTED, False),
    ("remote: error: GH006: Protected branch update failed", Refusal.PROTECTED, False),
    (
        "remote: GitLab: You are not allowed to push code to a protected branch on this project.",
        Refusal.PROTECTED,
        False,
    ),
    ("!\ta:b\t[rejected] (stale info)", Refusal.BRANCH_MOVED, True),
    ("!\ta:b\t[remote rejected] (cannot lock ref 'b')", Refusal.BRANCH_MOVED, True),
    ("!\ta:b\t[remote rejected] (hook declined)", Refusal.REFUSED, False),
    (
        "remote: Repository not found.\nfatal: repository 'x' not found",
        Refusal.REPOSITORY_MISSING,
        False,
    ),
    ("fatal: remote error: upload-pack: not our ref aaaa", Refusal.BASE_MISSING, False),
    ("Host key verification failed.", Refusal.HOST_UNKNOWN, False),
    ("SSL certificate problem: self-signed certificate", Refusal.HOST_UNKNOWN, False),
    ("fatal: unable to update url base from redirection", Refusal.ADDRESS_MOVED, False),
    ("fatal: Could not resolve host: h", Refusal.UNREACHABLE, True),
    ("error: The requested URL returned error: 503", Refusal.UNREACHABLE, True),
    ("fatal: the remote end hung up unexpectedly", Refusal.UNREACHABLE, True),
    ("error: The requested URL returned error: 429", Refusal.RATE_LIMITED, True),
    ("something new", Refusal.REFUSED, False),
]


@pytest.mark.parametrize(("said", "refusal", "is_passing"), GIT)
def test_words_of_git_tell_the_kind(said: str, refusal: Refusal, is_passing: bool) -> None:
    failure = git_failure(said, branch="b", host="h")

    assert (failure.refusal, failure.is_passing) == (refusal, is_passing)
    assert str(failure).endswith(".")
    assert "\n" not in str(failure)


API: list[tuple[int, dict[str, str], str, Refusal, bool, float | None]] = [
    (401, {}, "Bad credentials", Refusal.CREDENTIALS_REFUSED, False, None),
    (403, {}, "Resource not accessible by integration", Refusal.NOT_PERMITTED, False, None),
    (403, {"retry-after": "7"}, "secondary", Refusal.RATE_LIMITED, True, 7.0),
    (
        403,
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1030"},
        "API rate limit exceeded",
        Refusal.RATE_LIMITED,
        True,
        30.0,
    ),
    (403, {}, "You have exceeded a secondary rate limit", Refusal.RATE_LIMITED, True, None),
    (429, {}, "", Refusal.RATE_LIMITED, True, None),
    (404, {}, "Not Found", Refusal.REPOSITORY_MISSING, False, None),
    (301, {}, "Moved Permanently", Refusal.ADDRESS_MOVED, False, None),
    (422, {}, "Validation Failed", Refusal.REFUSED, False, None),
    (500, {}, "", Refusal.UNREACHABLE, True, None),
    (503, {"retry-after": "2"}, "", Refusal.UNREACHABLE, True, 2.0),
]


@pytest.mark.parametrize(("status", "headers", "said", "refusal", "is_passing", "wait"), API)
def test_answer_of_an_api_tells_the_kind(
    status: int,
    headers: dict[str, str],
    said: str,
    refusal: Refusal,
    is_passing: bool,
    wait: float | None,
) -> None:
    failure = api_failure(status, headers, said, host="h", now=1000.0)

    assert (failure.refusal, failure.is_passing, failure.wait_seconds) == (
        refusal,
        is_passing,
        wait,
    )
    assert str(status) in str(failure)


def test_every_kind_has_advice() -> None:
    assert set(ADVICE) == set(Refusal)
