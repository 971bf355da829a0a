"""Whole screens of `claude-jobs work`, as terminals of 80 and 120 columns show them."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from flows.cli.work_command import show_fetched, show_work
from tasks.operators.fetch_work import CloneWithBase, FetchedWork
from tasks.operators.run_work import RunWork
from tasks.outcome.run_result import WorkFile, WorkResult
from tasks.storage.folder_storage import FolderStorage
from tasks.storage.storage_keys import StorageOwner, bundle_key, patch_key, work_files_key
from tasks.vocabulary.names import AgentId, FlowRunId

AGENT = AgentId("payments-reviewer")
FLOW_RUN = FlowRunId("0b9d5c0e-7f1b-4f0e-9a51-0d3c0b1f6a11")
FOLDER = StorageOwner("agents", AGENT).own_attempt(FLOW_RUN, 1).path
BASE, HEAD, TREE = "a" * 40, "b" * 40, "c" * 40
LONG = "src/main/java/com/example/payments/rounding/HalfEvenRoundingStrategyFactoryBean.java"
WORK = WorkResult(
    collected=True,
    base_commit=BASE,
    head_commit=HEAD,
    work_commit=TREE,
    branch="fix/rounding",
    commits=3,
    files_changed=1204,
    insertions=1340,
    deletions=21,
    files=(
        WorkFile(path="README.md", status="modified", insertions=1340, deletions=21),
        WorkFile(path="docs/logo.png", status="added", size_bytes=9),
        WorkFile(path="\x1b[2J\x1b]0;x\x07evil\\x0a\u202e.py", status="deleted", deletions=0),
        WorkFile(path="审查/caf\ufffd  two spaces", status="type_changed", insertions=1),
        WorkFile(path=LONG, status="added", insertions=3, deletions=0),
    ),
    left_out=(
        "“dump.sql” was left out, since it is too large.",
        "The agent rewrote history: the commit it started from is not an ancestor of its HEAD.",
    ),
    bundle_key=bundle_key(FOLDER),
    patch_key=patch_key(FOLDER),
    files_key=work_files_key(FOLDER),
    bundle_bytes=12_345_678,
    bundle_sha256="d" * 64,
)
SCREEN = f"""\
Agent      payments-reviewer
Flow run   {FLOW_RUN}
Branch     fix/rounding
Base       {BASE}
Head       {HEAD}
Work       {TREE} with what was not committed
Changes    {WORK.changes}
Stored in  /var/results/payments-reviewer-5f0542857221b9e832c8/
           {FLOW_RUN}/1/
Bundle     work.bundle, 12,345,678 bytes
SHA-256    {"d" * 64}
Patch      changes.patch
All files  work-files.json

+1,340  −21  modified      README.md
     –    –  added         docs/logo.png
     –   −0  deleted       \\x1b[2J\\x1b]0;x\\x07evil\\x0a\\u202e.py
    +1    –  type changed  审查/caf\ufffd  two spaces
    +3   −0  added         src/main/java/com/example/payments/rounding/
                           HalfEvenRoundingStrategyFactoryBean.java
and 1,199 more

Left out
-  “dump.sql” was left out, since it is too large.
-  The agent rewrote history: the commit it started from is not an ancestor of
   its HEAD.
"""


def screen(columns: int, work: WorkResult = WORK, agent_id: str = AGENT) -> str:
    console = Console(file=StringIO(), width=columns, highlight=False, soft_wrap=True)
    storage = FolderStorage(Path("/var/results"))
    show_work(console, RunWork(AgentId(agent_id), FLOW_RUN, work, storage))
    return shown_on(console)


def shown_on(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def test_work_fits_a_terminal_of_80_columns() -> None:
    found = screen(80)

    assert found == SCREEN
    assert max(map(cell_len, found.splitlines())) <= 80


def test_work_uses_a_wider_terminal() -> None:
    found = screen(120)

    assert f"Stored in  /var/results/{FOLDER}/\n" in found
    assert f"added         {LONG}\n" in found


def test_run_that_changed_nothing_has_a_short_page() -> None:
    unchanged = WorkResult(
        collected=True,
        base_commit=BASE,
        head_commit=BASE,
        work_commit=BASE,
        commits=0,
        files_changed=0,
    )

    assert screen(80, unchanged) == (
        f"Agent     payments-reviewer\nFlow run  {FLOW_RUN}\nBranch    –\nBase      {BASE}\n"
        f"Head      {BASE}\nChanges   nothing changed\n"
    )


def test_work_that_was_not_collected_says_why() -> None:
    problem = "The pod was deleted before its \x1b[31mwork\nwas collected."

    assert screen(80, WorkResult(collected=False, problem=problem)) == (
        f"Agent     payments-reviewer\nFlow run  {FLOW_RUN}\nBranch    –\nBase      –\n"
        "Head      –\nChanges   –\n"
        "Problem   The pod was deleted before its \\x1b[31mwork\\nwas collected.\n"
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"branch": f"--upload-pack={'x' * 300}\x1b[2J"}, id="branch"),
        pytest.param({"files": (WorkFile(path="x" * 5000, status="added"),)}, id="path"),
        pytest.param({"files": (WorkFile(path="\u200b审" * 900, status="added"),)}, id="wide"),
        pytest.param({"left_out": ("\x9b" * 90,) * 300}, id="left out"),
        pytest.param({"base_commit": "[bold]" * 40, "head_commit": "\r\n"}, id="commits"),
        pytest.param({"bundle_key": "/".join(["k" * 90] * 9)}, id="key"),
    ],
)
def test_hostile_words_neither_widen_the_page_nor_steer_the_terminal(
    fields: dict[str, Any],
) -> None:
    found = screen(80, WORK.model_copy(update=fields), agent_id=f"\x1b]2;{'a' * 200}")

    assert max(map(cell_len, found.splitlines())) <= 80
    assert len(found.splitlines()) < 150
    assert not {"\x1b", "\x9b", "\r", "\x07"} & set(found)


@pytest.mark.parametrize(
    ("replaced", "expected"),
    [
        (None, ""),
        (
            HEAD,
            f"Keep {HEAD}, where it was: git -C '/my clone' branch "
            f"claude-jobs/payments-reviewer-before {HEAD}\n",
        ),
    ],
)
def test_fetched_work_is_told_with_commands_to_type(replaced: str | None, expected: str) -> None:
    console = Console(file=StringIO(), width=80, highlight=False, soft_wrap=True)
    clone = CloneWithBase(Path("/my clone"), BASE)

    show_fetched(console, WORK, FetchedWork(clone, f"claude-jobs/{AGENT}", TREE, replaced))

    assert shown_on(console) == (
        f"Branch claude-jobs/payments-reviewer of /my clone is now at {TREE}: {WORK.changes}.\n"
        "Its last commit is what the agent had not committed.\n"
        "Look at it: git -C '/my clone' log --reverse --patch "
        "aaaaaaaaaaaa..claude-jobs/payments-reviewer\n"
        "Merge it: git -C '/my clone' merge claude-jobs/payments-reviewer\n" + expected
    )
