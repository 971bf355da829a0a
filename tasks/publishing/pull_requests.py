"""One pull request for a branch, on GitHub or GitLab: found, else made, and read again.

Every step can be repeated: a request that was carried out and not answered is found by the next
look. Only open ones count, so a branch whose pull request was merged or closed gets a new one. A
text that people have written over is left as they want it; so are title and target.
"""

import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlsplit

import httpx

from tasks.publishing.publish_failures import PublishFailed, Refusal, api_failure
from tasks.text.safe_text import one_line
from tasks.vocabulary.git_remotes import ForgeAddress

MARK = "<!-- claude-jobs -->"
"""Ends the text of a pull request that may be renewed."""

_ANSWER_SECONDS = 30.0
_MESSAGE_CHARACTERS = 500
_LINK = re.compile(r"https?://[!-~]{1,2000}")

Json = Mapping[str, Any]


class RequestText(NamedTuple):
    """What a pull request says."""

    title: str
    body: str


class PullRequest(NamedTuple):
    """An open pull request, as its server tells of it."""

    number: int
    url: str | None
    body: str


class _Dialect(NamedTuple):
    """Where the APIs differ.

    Attributes:
        list_path: Of the project's pull requests.
        wanted: The query for those of a branch.
        number, url, body, state: Names of fields.
    """

    list_path: str
    wanted: dict[str, str]
    number: str
    url: str
    body: str
    branch: str
    target: str
    update: str
    open_state: str


def _dialect(forge: ForgeAddress, branch: str) -> _Dialect:
    if forge.forge == "github":
        owner = forge.project.partition("/")[0]
        return _Dialect(
            list_path=f"/repos/{quote(forge.project)}/pulls",
            wanted={"state": "open", "head": f"{owner}:{branch}", "per_page": "100"},
            number="number",
            url="html_url",
            body="body",
            branch="head",
            target="base",
            update="PATCH",
            open_state="open",
        )
    return _Dialect(
        list_path=f"/projects/{quote(forge.project, safe='')}/merge_requests",
        wanted={"state": "opened", "source_branch": branch, "per_page": "100"},
        number="iid",
        url="web_url",
        body="description",
        branch="source_branch",
        target="target_branch",
        update="PUT",
        open_state="opened",
    )


class PullRequests:
    """The pull requests of one branch."""

    def __init__(self, forge: ForgeAddress, token: str, branch: str) -> None:
        self._forge = forge
        self._branch = branch
        self._says = _dialect(forge, branch)
        # GitLab takes tokens of all kinds so, as GitHub does.
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "claude-jobs"}
        if forge.forge == "github":
            headers |= {
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            }
        self._client = httpx.AsyncClient(headers=headers, timeout=_ANSWER_SECONDS)

    async def __aenter__(self) -> "PullRequests":
        """Open the connection."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def ensure(self, target: str, text: RequestText) -> PullRequest:
        """Return the branch's open pull request, after it was made or its text renewed.

        Args:
            target: The branch that a new one is for.
            text: What it says.

        Raises:
            PublishFailed: It is not there; may be called again where that is passing.
        """
        found = await self.find()
        if found is None:
            await self._create(target, text)
        elif MARK in found.body and found.body.strip() != text.body.strip():
            path = f"{self._says.list_path}/{found.number}"
            await self._ask(self._says.update, path, json={self._says.body: text.body})
        # What a server has answered to a change is not yet what others see.
        seen = await self.find()
        if seen is None:
            raise PublishFailed(
                Refusal.UNREACHABLE,
                f"{self._host} does not show the pull request of branch {self._branch} yet.",
                is_passing=True,
            )
        return seen

    async def find(self) -> PullRequest | None:
        """Return the branch's open pull request, the oldest if there are several.

        Raises:
            PublishFailed: There is no answer.
        """
        answer = await self._ask("GET", self._says.list_path, params=self._says.wanted)
        if not isinstance(answer, list):
            raise self._not_understood()
        items = [cast("Json", item) for item in cast("list[Any]", answer) if isinstance(item, dict)]
        found = [self._read(item) for item in items if self._is_ours(item)]
        return min(found, key=lambda request: request.number, default=None)

    async def _create(self, target: str, text: RequestText) -> None:
        fields = {
            "title": text.title,
            self._says.body: text.body,
            self._says.branch: self._branch,
            self._says.target: target,
        }
        try:
            await self._ask("POST", self._says.list_path, json=fields)
        except PublishFailed as failure:
            # GitHub 422 and GitLab 409, in these words: another process was faster, or our own
            # request was carried out before its answer was lost.
            if failure.refusal is not Refusal.REFUSED or "already exists" not in str(failure):
                raise

    def _is_ours(self, item: Json) -> bool:
        """Tell whether it is of this branch; a server may not know the filter."""
        if item.get("state") != self._says.open_state:
            return False
        if self._forge.forge == "gitlab":
            # That of a fork has another source.
            sources = (item.get("source_project_id"), item.get("target_project_id"))
            return item.get("source_branch") == self._branch and sources[0] == sources[1]
        head: Any = item.get("head")
        head = cast("Json", head) if isinstance(head, dict) else {}
        repository: Any = head.get("repo")
        name = repository.get("full_name") if isinstance(repository, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # JSON of the server
        is_here = str(name).lower() == self._forge.project.lower()  # pyright: ignore[reportUnknownArgumentType] # as above
        return head.get("ref") == self._branch and is_here

    def _read(self, item: Json) -> PullRequest:
        number, url, body = (
            item.get(name) for name in (self._says.number, self._says.url, self._says.body)
        )
        if not isinstance(number, int):
            raise self._not_understood()
        is_link = isinstance(url, str) and _LINK.fullmatch(url)
        return PullRequest(number, url if is_link else None, body if isinstance(body, str) else "")

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = await self._client.request(method, f"{self._forge.api_url}{path}", **options)
        except httpx.HTTPError as error:
            raise PublishFailed(
                Refusal.UNREACHABLE,
                f"{self._host} gave no answer to {method} ({type(error).__name__}).",
                is_passing=True,
            ) from None
        if not answer.is_success:
            said, headers = _message(answer), {k.lower(): v for k, v in answer.headers.items()}
            raise api_failure(answer.status_code, headers, said, host=self._host, now=time.time())
        try:
            return answer.json()
        except ValueError:
            raise self._not_understood() from None

    @property
    def _host(self) -> str:
        return urlsplit(self._forge.api_url).hostname or self._forge.api_url

    def _not_understood(self) -> PublishFailed:
        return PublishFailed(
            Refusal.REFUSED,
            f"What {self._host} answers is not the API of {self._forge.forge}; look at `forge` and "
            "`api_url`.",
        )


def _message(answer: httpx.Response) -> str:
    """Return what the body of an answer says went wrong."""
    try:
        fields: Any = answer.json()
    except ValueError:
        return ""
    if not isinstance(fields, dict):
        return ""
    fields = cast("Json", fields)
    parts = [fields.get("message"), fields.get("error"), *_list(fields.get("errors"))]
    texts = [_text(part) for part in parts if part]
    return one_line("; ".join(texts), _MESSAGE_CHARACTERS)


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return str(cast("Json", value).get("message") or "")
    if isinstance(value, list):
        return "; ".join(map(str, cast("list[Any]", value)))
    return str(value)
