"""`claude-jobs work`: what an agent's last run left in its repository, and how to get it.

Exit code 0: done. 1: not done, for example because the cluster or the result storage does not
answer. 2: nothing has that name, or there is nothing to print or fetch. 3: Prefect is needed, and
gives no usable answer.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli import operator_tables
from flows.cli.operator_commands import (
    AsJson,
    Kubeconfig,
    Name,
    Namespace,
    carry_out,
    plain_console,
    reach_cluster,
    reach_records,
)
from tasks.operators.operator_errors import NothingFound, NotPossible
from tasks.outcome.report_page import UNKNOWN
from tasks.outcome.run_result import PublishedWork, WorkFile, WorkResult
from tasks.text.safe_text import escape_control_characters

if TYPE_CHECKING:
    from tasks.operators.fetch_work import FetchedWork
    from tasks.operators.run_work import RunWork

Row = tuple[str, Text]

_COPY_BYTES = 1 << 20
_FILES_SHOWN = 40
_LEFT_OUT_SHOWN = 20
_TEXT_CHARACTERS = 400
_GAP = 2
_LEAST_CELLS = 20


class WorkFormat(StrEnum):
    """How the work is shown, other than as a page for people."""

    JSON = "json"


def work(
    name: Name,
    patch: Annotated[
        bool, typer.Option("--patch", help="Print the patch as it is, and nothing else.")
    ] = False,
    apply: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Fetch the work into this clone, as a branch."),
    ] = None,
    push: Annotated[
        bool, typer.Option("--push", help="Push the work to where its run was to push it.")
    ] = False,
    run: Annotated[
        str | None, typer.Option(metavar="FLOW_RUN_ID", help="Flow run. Default: the last one.")
    ] = None,
    output: Annotated[
        WorkFormat | None, typer.Option("--output", "-o", help="`json`: for machines.")
    ] = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Show what an agent's last run left: commits, changed files, where bundle and patch lie.

    `--apply` creates or moves the branch `claude-jobs/AGENT` in a clone that has the work's base
    commit. Nothing is checked out, and no file of the working tree is touched.
    """
    as_json = as_json or output is WorkFormat.JSON
    as_page = not (as_json or patch)

    async def find() -> "RunWork":
        _refuse_several(patch=patch, apply=apply is not None, push=push)
        return await _find_work(kubeconfig, namespace, name, run, notes_to_stderr=not as_page)

    with _temporary_folder() as folder:
        if patch:
            target = folder / "changes.patch"
            carry_out(_read_patch(find(), target), as_json=as_json)
            _print_bytes(target)
        elif push and apply is None:
            published = carry_out(
                _push(kubeconfig, namespace, name, run, folder, as_json=as_json), as_json=as_json
            )
            if as_json:
                operator_tables.print_json(published.model_dump(mode="json"))
            else:
                show_published(plain_console(), published)
        elif apply is not None:
            fetching = _fetch(find(), apply, folder / "work.bundle")
            found, fetched = carry_out(fetching, as_json=as_json)
            if as_json:
                operator_tables.print_json(_fetched_for_machines(found, fetched))
            else:
                show_fetched(plain_console(), found.work, fetched)
        else:
            found = carry_out(find(), as_json=as_json)
            if as_json:
                operator_tables.print_json(_for_machines(found))
            else:
                show_work(plain_console(), found)


def show_work(console: Console, found: "RunWork") -> None:
    """Print what a run has left, as a page that is no wider than the console."""
    work, width = found.work, console.width
    facts = [
        ("Agent", _text(found.agent_id)),
        ("Flow run", _text(found.flow_run_id)),
        *_facts(work),
        *_places(found, width),
    ]
    console.print(_two_columns(facts), soft_wrap=False)
    if work.files:
        console.print()
        console.print(_file_table(work.files[:_FILES_SHOWN], width), soft_wrap=False)
        not_shown = (work.files_changed or len(work.files)) - len(work.files[:_FILES_SHOWN])
        if not_shown > 0:
            console.print(f"and {not_shown:,} more", markup=False)
    if work.left_out:
        console.print("\nLeft out", style="bold")
        shown = [("-", _text(text)) for text in work.left_out[:_LEFT_OUT_SHOWN]]
        console.print(_two_columns(shown), soft_wrap=False)
        if len(work.left_out) > _LEFT_OUT_SHOWN:
            console.print(f"and {len(work.left_out) - _LEFT_OUT_SHOWN:,} more", markup=False)


def show_fetched(console: Console, work: WorkResult, fetched: "FetchedWork") -> None:
    """Print what was done to a clone, and what to do with it; commands are not wrapped."""
    amount = f": {work.changes}" if work.changes else ""
    console.print(
        f"Branch {fetched.branch} of {fetched.clone.path} is now at {fetched.commit}{amount}.",
        style="cyan",
        markup=False,
    )
    if work.head_commit != work.work_commit:
        console.print("Its last commit is what the agent had not committed.", markup=False)
    commands = [("Look at it", fetched.look_command), ("Merge it", fetched.merge_command)]
    if fetched.restore_command is not None:
        commands.append((f"Keep {fetched.replaced}, where it was", fetched.restore_command))
    for title, command in commands:
        console.print(f"{title}: {command}", markup=False)


def show_published(console: Console, published: PublishedWork) -> None:
    """Print where a remote has the work now."""
    console.print(
        f"Branch {published.branch} of {published.remote} is at {published.commit}.",
        style="cyan",
        markup=False,
    )
    if published.replaced_commit is not None:
        console.print(f"Before, it was at {published.replaced_commit}.", markup=False)
    if published.pull_request_url is not None:
        console.print(f"Pull request: {published.pull_request_url}", markup=False)


def _refuse_several(**options: bool) -> None:
    given = [f"`--{name}`" for name, is_given in options.items() if is_given]
    if len(given) > 1:
        raise NotPossible(f"{' and '.join(given)} cannot be combined.", "Choose one of them.")


async def _push(
    kubeconfig: Path | None,
    namespace: str | None,
    name: str,
    run: str | None,
    folder: Path,
    *,
    as_json: bool,
) -> PublishedWork:
    from tasks.operators.push_work import load_credentials, push_work

    found = await _find_work(kubeconfig, namespace, name, run, notes_to_stderr=as_json)
    async with (
        reach_cluster(kubeconfig, namespace) as access,
        reach_records(kubeconfig, as_json=as_json) as records,
    ):
        runtime = await records.runtime_of(found.flow_run_id)
        publish = runtime.publish if runtime is not None else None
        where = (runtime and runtime.namespace) or access.namespace
        credentials = await load_credentials(access.client, where, publish)
        request = await records.request_of(found.flow_run_id)
    assert publish is not None  # else there are no credentials
    start_ref = request.workspace.repo_ref if request is not None else None
    return await push_work(
        found, publish, credentials, folder, namespace=where, start_ref=start_ref
    )


async def _find_work(
    kubeconfig: Path | None,
    namespace: str | None,
    name: str,
    run: str | None,
    *,
    notes_to_stderr: bool,
) -> "RunWork":
    """Return what a run has left: the last one that `name` means, or the agent's run `run`.

    Raises:
        CommandRefused: There is no such run, or it has left nothing.
    """
    # Importing Prefect takes two seconds, which `--help` does not need.
    from flows.cli.operator_runs import find_run
    from tasks.operators.run_work import RunWork, require_work

    async with reach_cluster(kubeconfig, namespace) as access:
        look = await access.look()
        async with reach_records(kubeconfig, as_json=notes_to_stderr) as records:
            known = await find_run(look, records, run or name)
            flow_run_id = known.flow_run_id
            storage = await records.storage_of(flow_run_id) if flow_run_id is not None else None
    if run is not None and (known.agent_id, flow_run_id) != (name, run):
        raise NothingFound(
            f"Flow run {run!r} is not one of agent {name!r}.",
            "`claude-jobs ls --all -o wide` shows the flow runs that have a Job.",
        )
    if flow_run_id is None:
        raise NotPossible(
            f"No run of agent {name!r} is known here.",
            "Set PREFECT_API_URL to the API that knows its flow runs.",
        )
    at_work = known.job is not None and not look.is_over(known.job)
    work = require_work(known.agent_id, flow_run_id, known.result, at_work=at_work)
    assert storage is not None  # the result was read from it
    return RunWork(known.agent_id, flow_run_id, work, storage)


async def _read_patch(finding: Coroutine[Any, Any, "RunWork"], target: Path) -> None:
    await (await finding).read_patch(target)


async def _fetch(
    finding: Coroutine[Any, Any, "RunWork"], directory: Path, bundle: Path
) -> tuple["RunWork", "FetchedWork"]:
    from tasks.operators.fetch_work import check_clone, fetch_bundle

    found = await finding
    work = found.work
    found.require_bundle()
    clone = await check_clone(directory, work.base_commit)
    await found.read_bundle(bundle)
    fetched = await fetch_bundle(clone, bundle, found.agent_id, commit=work.work_commit)
    return found, fetched


def _print_bytes(path: Path) -> None:
    with path.open("rb") as content:
        shutil.copyfileobj(content, sys.stdout.buffer, _COPY_BYTES)
    sys.stdout.buffer.flush()


@contextmanager
def _temporary_folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="claude-jobs-") as name:
        yield Path(name)


def _for_machines(found: "RunWork") -> dict[str, Any]:
    return {
        "agent_id": found.agent_id,
        "flow_run_id": found.flow_run_id,
        "storage": found.storage.description,
        "work": found.work.model_dump(mode="json"),
    }


def _fetched_for_machines(found: "RunWork", fetched: "FetchedWork") -> dict[str, Any]:
    return {
        "agent_id": found.agent_id,
        "flow_run_id": found.flow_run_id,
        "repository": str(fetched.clone.path),
        "branch": fetched.branch,
        "commit": fetched.commit,
        "replaced_commit": fetched.replaced,
        "base_commit": fetched.clone.base,
    }


def _facts(work: WorkResult) -> Iterator[Row]:
    yield "Branch", _text(work.branch or UNKNOWN)
    yield "Base", _text(work.base_commit or UNKNOWN)
    yield "Head", _text(work.head_commit or UNKNOWN)
    if work.work_commit != work.head_commit:
        yield "Work", _text(f"{work.work_commit or UNKNOWN} with what was not committed")
    yield "Changes", _text(work.changes or UNKNOWN)
    if work.problem:
        yield "Problem", Text(_safe(work.problem), style="yellow")
    published = work.published
    if published is not None:
        seen = "" if published.commit else " (not there)"
        yield "Pushed to", _text(f"{published.branch} of {published.remote}{seen}")
        if published.pull_request_url:
            yield "Pull request", _text(published.pull_request_url)
        if published.problem:
            yield "Not pushed", Text(_safe(published.problem), style="yellow")


def _places(found: "RunWork", width: int) -> Iterator[Row]:
    """Yield what lies in the storage, and in which folder."""
    work = found.work
    named = {"Bundle": work.bundle_key, "Patch": work.patch_key, "All files": work.files_key}
    stored = {name: PurePosixPath(key) for name, key in named.items() if key is not None}
    room = width - max(map(len, named)) - _GAP
    for folder in dict.fromkeys(path.parent for path in stored.values()):
        yield "Stored in", Text(_fold(_safe(f"{found.storage.description}/{folder}/"), room))
    for name, path in stored.items():
        if name == "Bundle":
            size = "" if work.bundle_bytes is None else f", {work.bundle_bytes:,} bytes"
            yield name, _text(f"{path.name}{size}")
            yield "SHA-256", _text(work.bundle_sha256 or UNKNOWN)
        else:
            yield name, _text(path.name)


def _file_table(files: Sequence[WorkFile], width: int) -> Table:
    cells = [
        (_lines(file.insertions, "+"), _lines(file.deletions, "−"), file.status.replace("_", " "))
        for file in files
    ]
    taken = sum(max(map(cell_len, column)) + _GAP for column in zip(*cells, strict=True))
    table = _bare_table()
    table.add_column(justify="right", style="green", no_wrap=True)
    table.add_column(justify="right", style="red", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for (added, removed, status), file in zip(cells, files, strict=True):
        table.add_row(added, removed, status, Text(_fold(_safe(file.path), width - taken)))
    return table


def _two_columns(rows: Sequence[Row]) -> Table:
    table = _bare_table()
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _bare_table() -> Table:
    return Table(show_header=False, box=None, padding=(0, _GAP, 0, 0), pad_edge=False)


def _lines(count: int | None, sign: str) -> str:
    # Git counts no lines of binary files.
    return UNKNOWN if count is None else f"{sign}{count:,}"


def _text(text: str) -> Text:
    return Text(_safe(text))


def _safe(text: str) -> str:
    """Return a name or sentence of the agent's as one safe line; white space in it stays."""
    # Cut before the work as well: a text may be long, and grows by what is written out.
    safe = escape_control_characters(text[: _TEXT_CHARACTERS + 1])
    line = safe.replace("\n", r"\n").replace("\t", r"\t")
    return line if len(line) <= _TEXT_CHARACTERS else f"{line[:_TEXT_CHARACTERS]}…"


def _fold(path: str, cells: int) -> str:
    """Return a path in lines of at most so many cells, broken after slashes if it has any there."""
    lines = [""]
    for part in re.findall("[^/]*/|[^/]+", path):
        if lines[-1] and cell_len(lines[-1] + part) > max(cells, _LEAST_CELLS):
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
