r"""Why work could not be published, each in a sentence: from what Git and the servers' APIs say.

PublishFailed   has a `Refusal`, a sentence and advice; `is_passing` where a later try may help

Git's words are those of `LC_ALL=C`. The first row of a table that fits decides.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum, auto
from typing import NamedTuple

from tasks.text.quoting import quote


class Refusal(StrEnum):
    """The kinds of failures, by what can be done about them."""

    CREDENTIALS_MISSING = auto()
    CREDENTIALS_REFUSED = auto()
    NOT_PERMITTED = auto()
    PROTECTED = auto()
    BRANCH_MOVED = auto()
    BRANCH_RESERVED = auto()
    BASE_MISSING = auto()
    REPOSITORY_MISSING = auto()
    ADDRESS_MOVED = auto()
    HOST_UNKNOWN = auto()
    RATE_LIMITED = auto()
    UNREACHABLE = auto()
    REFUSED = auto()
    UNUSABLE = auto()


ADVICE: Mapping[Refusal, str] = {
    Refusal.CREDENTIALS_MISSING: "Correct `publish` in the runtime, or what it names.",
    Refusal.CREDENTIALS_REFUSED: "Renew the token or key that the runtime's `publish` names.",
    Refusal.NOT_PERMITTED: "Give the account of the runtime's `publish` the right to write there.",
    Refusal.PROTECTED: "Change the rules of that branch, or `branch` in the runtime's `publish`.",
    Refusal.BRANCH_MOVED: "Look at what is on that branch; take it over, or delete the branch.",
    Refusal.BRANCH_RESERVED: "Change `branch` in the runtime's `publish`.",
    Refusal.BASE_MISSING: "Find out who removed the commit from the repository.",
    Refusal.REPOSITORY_MISSING: "Correct `workspace.repo_url`; a server that hides a repository "
    "from an account says the same, so look at the account's rights too.",
    Refusal.ADDRESS_MOVED: "Use the repository's new address in `workspace.repo_url`.",
    Refusal.HOST_UNKNOWN: "Put the server's key into `known_hosts` of the Secret, or its "
    "certificate into the flow's image.",
    Refusal.RATE_LIMITED: "Wait until the limit is over.",
    Refusal.UNREACHABLE: "Look whether the server is up and can be reached from the flow's pod.",
    Refusal.REFUSED: "Do what the server asks for.",
    Refusal.UNUSABLE: "Look at the run's log.",
}


class PublishFailed(Exception):
    """The work is not where it should be; `str()` is a sentence for people.

    Attributes:
        refusal: The kind.
        is_passing: The same may succeed a little later.
        wait_seconds: How long the server asks to wait, if it does.
    """

    def __init__(
        self,
        refusal: Refusal,
        sentence: str,
        *,
        is_passing: bool = False,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.refusal = refusal
        self.is_passing = is_passing
        self.wait_seconds = wait_seconds

    @property
    def advice(self) -> str:
        """What to do about it, in a sentence."""
        return ADVICE[self.refusal]


class _Row(NamedTuple):
    refusal: Refusal
    pattern: re.Pattern[str]
    happened: str
    is_passing: bool = False


def _row(refusal: Refusal, pattern: str, happened: str, *, is_passing: bool = False) -> _Row:
    return _Row(refusal, re.compile(pattern, re.IGNORECASE), happened, is_passing)


_OF_GIT: Sequence[_Row] = (
    _row(
        Refusal.PROTECTED,
        r"protected (branch|ref)|\bGH006\b|\bGH013\b|not allowed to (force )?push code to a",
        "The remote protects the branch {branch}",
    ),
    _row(
        Refusal.BRANCH_MOVED,
        r"stale info|non-fast-forward|fetch first|cannot lock ref|reference already exists|"
        r"failed to update ref|incorrect old value",
        "The branch {branch} has moved on the remote",
        is_passing=True,
    ),
    _row(
        Refusal.HOST_UNKNOWN,
        r"host key verification failed|remote host identification has changed|"
        r"certificate verification failed|ssl certificate problem|unable to get local issuer",
        "The server {host} could not prove who it is",
    ),
    _row(
        Refusal.CREDENTIALS_REFUSED,
        r"authentication failed|could not read (username|password)|access denied|"
        r"permission denied \(|returned error: 401|invalid username|load key .*invalid format",
        "The credentials were refused by {host}",
    ),
    _row(
        Refusal.NOT_PERMITTED,
        r"returned error: 403|permission to .* denied|not allowed to (push|upload)|denied to |"
        r"write access to .* not granted|read[- ]only|insufficient permission",
        "The account may not push to {host}",
    ),
    _row(
        Refusal.ADDRESS_MOVED,
        r"returned error: 30\d|unable to update url base from redirection",
        "The repository has another address now",
    ),
    _row(
        Refusal.BASE_MISSING,
        r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref",
        "The remote no longer has the commit that the agent started from",
    ),
    _row(
        Refusal.REPOSITORY_MISSING,
        r"returned error: 404|repository .*not found|not found:|does not exist|"
        r"does not appear to be a git repository",
        "The remote has no such repository",
    ),
    _row(
        Refusal.RATE_LIMITED,
        r"returned error: 429",
        "The server {host} limits requests",
        is_passing=True,
    ),
    _row(
        Refusal.REFUSED,
        r"\[remote rejected\]|hook declined|\[rejected\]",
        "The remote did not take the branch {branch}",
    ),
    _row(
        Refusal.UNREACHABLE,
        r"returned error: 5\d\d|could not resolve|failed to connect|couldn't connect|"
        r"connection (refused|reset|timed out|closed)|timed out|hung up|early eof|rpc failed|"
        r"empty reply|unable to access|network is unreachable|no route to host|"
        r"could not read from remote|broken pipe|recv failure|gnutls|operation too slow",
        "The server {host} could not be reached",
        is_passing=True,
    ),
)


def git_failure(said: str, *, branch: str, host: str) -> PublishFailed:
    """Return what a command of Git that failed means.

    Args:
        said: What it printed, both stdout and stderr.
        branch: The branch that was to be pushed.
        host: The server.
    """
    words = quote(" ".join(_telling(said)))
    told = f": {words}" if words else ""
    for row in _OF_GIT:
        if row.pattern.search(said):
            happened = row.happened.format(branch=branch, host=host)
            return PublishFailed(row.refusal, f"{happened}{told}.", is_passing=row.is_passing)
    return PublishFailed(Refusal.REFUSED, f"Git could not push{told}.")


def _telling(said: str) -> list[str]:
    """Return the lines that say what went wrong; all where none does."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marks = ("fatal:", "error:", "remote:", "!", "ssh:")
    telling = [
        line.removeprefix("remote:").strip() for line in lines if line.lower().startswith(marks)
    ]
    return [line for line in telling if line] or lines


def api_failure(
    status: int, headers: Mapping[str, str], said: str, *, host: str, now: float
) -> PublishFailed:
    """Return what an answer of an API that is no success means.

    Args:
        status: The HTTP status.
        headers: With names in lowercase.
        said: The message in its body, or empty.
        host: The server.
        now: Seconds since the epoch.

    Source:
        GitHub REST, rate limits: 403 or 429 with `retry-after`, or with `x-ratelimit-remaining: 0`
        and `x-ratelimit-reset`. GitLab REST: 429 with `Retry-After`.
    """
    words = quote(said)
    told = f" and says {words}" if words else ""
    answered = f"{host} answers with status {status}{told}"
    wait = _asked_seconds(headers, now)
    is_limit = wait is not None or headers.get("x-ratelimit-remaining") == "0"
    if status == 429 or (status == 403 and (is_limit or "rate limit" in said.lower())):
        return PublishFailed(
            Refusal.RATE_LIMITED,
            f"The server limits requests: {answered}.",
            is_passing=True,
            wait_seconds=wait,
        )
    if status == 401:
        return PublishFailed(Refusal.CREDENTIALS_REFUSED, f"The token was refused: {answered}.")
    if status == 403:
        return PublishFailed(
            Refusal.NOT_PERMITTED, f"The token does not allow pull requests: {answered}."
        )
    if status == 404:
        return PublishFailed(
            Refusal.REPOSITORY_MISSING, f"The repository is not there for the token: {answered}."
        )
    if 300 <= status < 400:
        return PublishFailed(
            Refusal.ADDRESS_MOVED, f"The repository has another address now: {answered}."
        )
    if status >= 500 or status == 408:
        return PublishFailed(
            Refusal.UNREACHABLE,
            f"The server has a failure of its own: {answered}.",
            is_passing=True,
            wait_seconds=wait,
        )
    return PublishFailed(Refusal.REFUSED, f"The pull request was refused: {answered}.")


def _asked_seconds(headers: Mapping[str, str], now: float) -> float | None:
    after = headers.get("retry-after", "")
    if after.isdecimal():
        return float(after)
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return max(0.0, float(reset) - now)
    return None
