"""Pushes to a real Git server that wants a password, and pull requests on a stand-in."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.agent_job.publish_settings import Publish, PublishPlan
from tasks.outcome.run_result import PublishedWork
from tasks.publishing.publish_failures import PublishFailed
from tasks.publishing.pull_requests import MARK, RequestText
from tasks.publishing.push_credentials import PushCredentials
from tasks.publishing.push_trial import try_to_publish
from tasks.publishing.work_publishing import PublishOrder, publish_bundle
from tests.forge_server import ForgeServer, serve_forge
from tests.git_server import GIT_PASSWORD, GIT_USER, let_push, make_repository, serve_repositories
from tests.unit.work.made_checkpoints import commit_all, commit_id, git

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

BRANCH = "claude-jobs/no-tenant/a/t"
CREDENTIALS = PushCredentials(username=GIT_USER, password=GIT_PASSWORD, token="token-of-the-api")
TEXT = RequestText("A title", f"A text\n{MARK}\n")


class Ledger:
    """Notes in memory."""

    def __init__(self) -> None:
        self.commits: list[str] = []

    async def read(self) -> tuple[str, ...]:
        return tuple(self.commits)

    async def add(self, commit: str) -> None:
        self.commits.append(commit)


class Remote:
    """A served repository, and work on its last commit.

    Attributes:
        answers: Says before and after each request what to answer; `None` is the real answer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = make_repository(folder, commits=2)
        self.bare = let_push(folder)
        self.answers: Callable[[str, str], int | None] = lambda when, path: None
        self.requests: list[str] = []
        self.address = ""

    def answer(self, when: str, path: str) -> int | None:
        if when == "before":
            self.requests.append(path)
        return self.answers(when, path)

    def make_work(self, name: str, start: str = "main") -> tuple[str, Path]:
        """Return a commit with a file of that name, and the bundle with it."""
        clone = self.folder / f"clone-{name}"
        git(self.folder, "clone", "-q", "-b", start, str(self.bare), str(clone))
        (clone / name).write_text(f"{name}\n")
        commit_all(clone, f"Add {name}")
        commit, bundle = commit_id(clone), self.folder / f"{name}.bundle"
        git(clone, "update-ref", "refs/heads/claude-jobs/work", commit)
        work = "refs/heads/claude-jobs/work"
        git(clone, "bundle", "create", "-q", str(bundle), f"{self.base}..{work}")
        return commit, bundle

    def head(self, branch: str = BRANCH) -> str | None:
        found = git(self.bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        return found.decode().strip() or None

    def order(self, name: str = "one", deliver: str = "push") -> PublishOrder:
        commit, bundle = self.make_work(name)
        plan = {"deliver": deliver, "remote": self.address, "branch": BRANCH}
        return PublishOrder(
            plan=PublishPlan.model_validate(plan),
            publish=Publish(credentials_secret="robot"),
            commit=commit,
            base=self.base,
            bundle=bundle,
            text=TEXT,
        )


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    served = Remote(tmp_path)
    with serve_repositories(tmp_path, answer=served.answer) as address:
        served.address = address
        yield served


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with serve_forge() as server:
        yield server


async def publish(
    order: PublishOrder,
    ledger: Ledger | None = None,
    credentials: PushCredentials = CREDENTIALS,
    seconds: float = 25.0,
) -> PublishedWork:
    folder = order.bundle.parent
    published = await publish_bundle(
        order, credentials, ledger or Ledger(), folder, seconds=seconds
    )
    assert list(folder.glob("push-*")) == []
    assert GIT_PASSWORD not in published.model_dump_json()
    return published


async def test_work_is_on_its_branch_and_is_not_pushed_again(remote: Remote) -> None:
    order, ledger = remote.order(), Ledger()

    published = await publish(order, ledger)

    assert published.is_there
    assert published.commit == remote.head() == order.commit
    assert git(remote.bare, "show", f"{order.commit}:one") == b"one\n"
    remote.requests.clear()
    assert await publish(order, ledger) == published
    assert not any("receive-pack" in path for path in remote.requests)


@pytest.mark.slice
async def test_later_work_takes_the_place_of_our_own(remote: Remote) -> None:
    ledger = Ledger()
    first, second = remote.order("one"), remote.order("two")
    await publish(first, ledger)

    published = await publish(second, ledger)

    assert published.is_there
    assert (remote.head(), published.replaced_commit) == (second.commit, first.commit)


@pytest.mark.slice
async def test_commit_of_somebody_else_is_never_replaced(remote: Remote) -> None:
    theirs, ours = remote.order("theirs"), remote.order("ours")
    await publish(theirs, Ledger())

    published = await publish(ours, Ledger())

    assert not published.is_there
    assert published.commit is None
    assert "somebody else" in (published.problem or "")
    assert remote.head() == theirs.commit


@pytest.mark.slice
async def test_branch_that_moves_between_look_and_push_is_not_replaced(remote: Remote) -> None:
    theirs, ours = remote.order("theirs"), remote.order("ours")
    moved: list[bool] = []

    def move(when: str, path: str) -> None:
        if when == "before" and "git-receive-pack" in path and not moved:
            moved.append(True)
            bundle = f"{theirs.bundle}"
            git(remote.bare, "bundle", "unbundle", bundle)
            git(remote.bare, "update-ref", f"refs/heads/{BRANCH}", theirs.commit)

    remote.answers = move
    published = await publish(ours, Ledger())

    assert moved
    assert not published.is_there
    assert remote.head() == theirs.commit


@pytest.mark.slice
@pytest.mark.parametrize("status", [0, 502])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("request_of", ["info/refs?service=git-upload-pack", "git-receive-pack"])
async def test_lost_answer_is_found_out_about(
    remote: Remote, status: int, when: str, request_of: str
) -> None:
    order, left = remote.order(), [status]

    def lose(moment: str, path: str) -> int | None:
        return left.pop() if left and moment == when and path.endswith(request_of) else None

    remote.answers = lose
    published = await publish(order)

    assert left == []
    assert published.is_there, published
    assert remote.head() == order.commit


@pytest.mark.slice
async def test_wrong_password_is_said(remote: Remote) -> None:
    order = remote.order()

    published = await publish(order, credentials=replace(CREDENTIALS, password="not-the-one"))

    assert "credentials were refused" in (published.problem or ""), published
    assert "not-the-one" not in published.model_dump_json()
    assert remote.head() is None


@pytest.mark.slice
async def test_protected_branch_is_said(remote: Remote) -> None:
    let_push(remote.folder, hook="echo 'error: GH006: Protected branch update failed' >&2; exit 1")

    published = await publish(remote.order())

    assert "protects the branch" in (published.problem or ""), published
    assert published.commit is None


@pytest.mark.slice
async def test_remote_that_stays_away_is_said(remote: Remote) -> None:
    remote.answers = lambda when, path: 503
    order = remote.order()

    published = await publish(order, seconds=3.0)

    assert not published.is_there
    assert published.problem is not None


async def test_missing_credentials_are_said(remote: Remote) -> None:
    published = await publish(remote.order(), credentials=PushCredentials())

    assert "password or token" in (published.problem or "")


@pytest.mark.slice
async def test_default_branch_is_never_pushed_to(remote: Remote) -> None:
    order = remote.order()
    order = replace(order, plan=order.plan.model_copy(update={"branch": "main"}))

    published = await publish(order)

    assert not published.is_there
    assert remote.head("main") == remote.base


def ask_for(order: PublishOrder, forge: ForgeServer, kind: str) -> PublishOrder:
    settings = {
        "credentials_secret": "robot",
        "forge": kind,
        "api_url": f"{forge.address}/api/{'v3' if kind == 'github' else 'v4'}",
    }
    return replace(order, publish=Publish.model_validate(settings))


KINDS = pytest.mark.parametrize("kind", ["github", "gitlab"])


@pytest.fixture
def asked(remote: Remote, forge: ForgeServer) -> Callable[[str], PublishOrder]:
    """An order with a pull request; the project has the path that both servers take."""
    link = remote.folder / "o"
    link.mkdir()
    (link / "project.git").symlink_to(remote.bare)
    remote.address = remote.address.replace("/project.git", "/o/project.git")
    forge.project = "o/project"
    return lambda kind: ask_for(remote.order(deliver="pull_request"), forge, kind)


@pytest.mark.slice
@KINDS
async def test_pull_request_is_made_once(
    asked: Callable[[str], PublishOrder], forge: ForgeServer, kind: str
) -> None:
    order = asked(kind)

    published = await publish(order)

    assert published.is_there, published
    assert [(r.branch, r.target, r.title) for r in forge.requests] == [(BRANCH, "main", "A title")]
    assert published.pull_request_number == forge.requests[0].number
    assert (published.pull_request_url or "").startswith("http")
    assert await publish(order) == published
    assert len(forge.requests) == 1


@pytest.mark.slice
@KINDS
@pytest.mark.parametrize(
    "fault", ["500-before", "closed-before", "closed-after", "limit", "exists"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pull_request_is_one_whatever_happens_to_a_call(
    asked: Callable[[str], PublishOrder], forge: ForgeServer, kind: str, fault: str, method: str
) -> None:
    order = asked(kind)
    forge.faults.append((method, fault))

    published = await publish(order)

    assert published.is_there, published
    assert forge.faults == []
    assert len(forge.requests) == 1


@pytest.mark.slice
@KINDS
async def test_text_is_renewed_where_it_is_ours_and_left_where_it_is_not(
    asked: Callable[[str], PublishOrder], forge: ForgeServer, kind: str
) -> None:
    order = asked(kind)
    await publish(order)
    later = replace(order, text=RequestText("Another title", f"Later\n{MARK}\n"))

    await publish(later)

    assert (forge.requests[0].title, forge.requests[0].body) == ("A title", f"Later\n{MARK}\n")
    forge.requests[0].body = "What a person wrote"
    await publish(order)
    assert forge.requests[0].body == "What a person wrote"


@pytest.mark.slice
@KINDS
async def test_closed_pull_request_does_not_count(
    asked: Callable[[str], PublishOrder], forge: ForgeServer, kind: str
) -> None:
    order = asked(kind)
    await publish(order)
    forge.requests[0].is_open = False

    published = await publish(order)

    assert published.pull_request_number == forge.requests[1].number
    assert len(forge.requests) == 2


@pytest.mark.slice
@KINDS
@pytest.mark.parametrize(
    ("fault", "said"),
    [("401", "token was refused"), ("403", "does not allow"), ("404", "not there for the token")],
)
async def test_refused_pull_request_is_said_and_the_push_stays(
    asked: Callable[[str], PublishOrder],
    remote: Remote,
    forge: ForgeServer,
    kind: str,
    fault: str,
    said: str,
) -> None:
    order = asked(kind)
    forge.faults.append(("POST", fault))

    published = await publish(order)

    assert not published.is_there
    assert said in (published.problem or ""), published
    assert published.commit == remote.head() == order.commit
    assert "token-of-the-api" not in published.model_dump_json()


@pytest.mark.slice
@KINDS
async def test_trial_changes_nothing(
    asked: Callable[[str], PublishOrder], remote: Remote, forge: ForgeServer, kind: str
) -> None:
    order = asked(kind)

    await try_to_publish(order.plan, order.publish, CREDENTIALS, remote.folder)

    assert remote.head() is None
    assert forge.requests == []
    assert any("git-receive-pack" in path for path in remote.requests)


@pytest.mark.slice
@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        (replace(CREDENTIALS, password="not-the-one"), "credentials were refused"),
        (replace(CREDENTIALS, token="not-the-one"), "token was refused"),
        (PushCredentials(), "password or token"),
    ],
)
async def test_trial_says_what_is_wrong(
    asked: Callable[[str], PublishOrder],
    remote: Remote,
    credentials: PushCredentials,
    said: str,
) -> None:
    order = asked("github")

    with pytest.raises(PublishFailed, match=said):
        await try_to_publish(order.plan, order.publish, credentials, remote.folder)


@pytest.mark.slice
async def test_trial_finds_that_nobody_may_push(remote: Remote) -> None:
    order = remote.order()
    git(remote.bare, "config", "http.receivepack", "false")

    with pytest.raises(PublishFailed, match="may not push"):
        await try_to_publish(order.plan, order.publish, CREDENTIALS, remote.folder)
