"""`claude-jobs work` on what ended runs have stored, with real git and no pod."""

import asyncio
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.agent_job.run_naming import agent_tag
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings, WorkResult
from tasks.storage.folder_storage import FolderStorage
from tasks.storage.storage_keys import StorageOwner, bundle_key, patch_key, work_files_key
from tasks.storage.stored_results import write_result
from tasks.vocabulary.names import AgentId, FlowRunId
from tests.main_job.conftest import COMMAND
from tests.operators.conftest import Operated
from tests.prefect_server import PrefectServer
from tests.unit.operators.bundled_work import BundledWork, commit_of, git, make_work, state_of

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(120)]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NEVER_COLLECTED = WorkResult(collected=False, problem="The pod was \x1b[2Jdeleted too early.")
Operate = Callable[..., Operated]


@dataclass(frozen=True)
class EndedRun:
    """A flow run that Prefect and the result storage know, and no cluster any more."""

    agent_id: AgentId
    flow_run_id: str
    folder: Path


@pytest.fixture
def storage() -> Iterator[Path]:
    """With a name short enough for a line of a screen."""
    with tempfile.TemporaryDirectory(prefix="cj-") as name:
        yield Path(name)


@pytest.fixture
def bundled(tmp_path: Path) -> BundledWork:
    return make_work(tmp_path)


@pytest.fixture
def end_run(
    prefect_server: PrefectServer,
    build_request: Callable[..., dict[str, Any]],
    agents_namespace: str,
    storage: Path,
    bundled: BundledWork,
) -> Callable[..., EndedRun]:
    """Stores a run's result with what it has left, as the run does; by default the bundled work."""
    flow_id = prefect_server.post("/flows/", {"name": "run-agent"})["id"]

    def end(agent_id: str, work: WorkResult | None = bundled.result) -> EndedRun:
        request = build_request("registry.example.com/agent", agent={"agent_id": agent_id})
        body = {
            "flow_id": flow_id,
            "parameters": {"request": request},
            "tags": [agent_tag(agent_id)],
            "state": {"type": "COMPLETED", "name": "Completed"},
        }
        flow_run_id = FlowRunId(prefect_server.post("/flow_runs/", body)["id"])
        path = StorageOwner(agents_namespace, AgentId(agent_id)).own_attempt(flow_run_id, 1).path
        result = AgentRunResult(
            agent_id=agent_id,
            flow_run_id=flow_run_id,
            message="It ended.",
            timings=Timings(started_at=NOON, ended_at=NOON),
            kubernetes=KubernetesNames(namespace=agents_namespace),
            work=_with_keys(work, path) if work and work.bundle_bytes else work,
        )
        asyncio.run(_store(FolderStorage(storage), path, result, bundled))
        return EndedRun(AgentId(agent_id), flow_run_id, storage / path)

    return end


def _with_keys(work: WorkResult, path: str) -> WorkResult:
    keys = {"bundle_key": bundle_key, "patch_key": patch_key, "files_key": work_files_key}
    return work.model_copy(update={name: key(path) for name, key in keys.items()})


async def _store(
    storage: FolderStorage, path: str, result: AgentRunResult, bundled: BundledWork
) -> None:
    await write_result(storage, path, result)
    await storage.write_file(bundle_key(path), bundled.bundle)
    await storage.write(patch_key(path), bundled.patch)


@pytest.fixture
def printed_bytes(
    prefect_server: PrefectServer, agents_namespace: str
) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    """Runs `claude-jobs ARGUMENTS` through a shell, with `tail` after it."""

    def run(*arguments: str, tail: str = "") -> "subprocess.CompletedProcess[bytes]":
        api = {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(prefect_server.home)}
        command = [str(COMMAND), *arguments, "--namespace", agents_namespace]
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", f'"$@"{tail}', "bash", *command],
            env={**os.environ, **api},
            capture_output=True,
            timeout=60,
            check=False,
        )

    return run


def agent_name() -> str:
    return f"agent-{uuid.uuid4().hex[:8]}"


def test_last_run_is_shown_on_80_columns_and_to_machines(
    end_run: Callable[..., EndedRun], operate: Operate, bundled: BundledWork, storage: Path
) -> None:
    agent_id, work = agent_name(), bundled.result
    end_run(agent_id, None)
    ended = end_run(agent_id)

    shown = operate("work", agent_id, COLUMNS="80")
    machines = operate("work", agent_id, "-o", "json")

    assert shown.exit_code == 0, shown.text
    assert [line.rstrip() for line in shown.stdout.splitlines()] == [
        f"Agent      {agent_id}",
        f"Flow run   {ended.flow_run_id}",
        "Branch     main",
        f"Base       {work.base_commit}",
        f"Head       {work.head_commit}",
        f"Work       {work.work_commit} with what was not committed",
        f"Changes    {work.changes}",
        f"Stored in  {ended.folder.parent.parent}/",
        f"           {ended.flow_run_id}/1/",
        f"Bundle     work.bundle, {work.bundle_bytes} bytes",
        f"SHA-256    {work.bundle_sha256}",
        "Patch      changes.patch",
        "All files  work-files.json",
        "",
        "+1  −0  modified  README",
        " –   –  added     caf\ufffd\\x1b[2J",
    ]
    told = json.loads(machines.stdout)
    assert (told["agent_id"], told["flow_run_id"]) == (agent_id, ended.flow_run_id)
    assert told["storage"] == str(storage)
    assert (storage / told["work"]["bundle_key"]).read_bytes() == bundled.bundle.read_bytes()


def test_patch_is_printed_as_it_is_and_applies(
    end_run: Callable[..., EndedRun],
    printed_bytes: Callable[..., "subprocess.CompletedProcess[bytes]"],
    bundled: BundledWork,
) -> None:
    clone = bundled.clone("clone")
    agent_id = end_run(agent_name()).agent_id

    whole = printed_bytes("work", agent_id, "--patch")
    cut = printed_bytes("work", agent_id, "--patch", tail=" | head -c 10")

    assert (whole.returncode, whole.stdout, whole.stderr) == (0, bundled.patch, b"")
    git(clone, "apply", "--index", stdin=whole.stdout)
    assert git(clone, "write-tree") == git(
        bundled.project.parent / "agent", "rev-parse", f"{bundled.commit}^{{tree}}"
    )
    assert (cut.stdout, cut.stderr) == (bundled.patch[:10], b"")


def test_work_is_fetched_into_a_clone_as_a_branch(
    end_run: Callable[..., EndedRun], operate: Operate, bundled: BundledWork
) -> None:
    clone = bundled.clone("clone")
    (clone / "README").write_text("being edited\n")
    before = state_of(clone)
    ended = end_run(agent_name())
    branch = f"claude-jobs/{ended.agent_id}"

    fetched = operate("work", ended.agent_id, "--apply", str(clone))
    again = operate("work", ended.agent_id, "--apply", str(clone), "-o", "json")

    assert (fetched.exit_code, fetched.stderr) == (0, ""), fetched.text
    assert fetched.stdout.splitlines() == [
        f"Branch {branch} of {clone} is now at {bundled.commit}: {bundled.result.changes}.",
        "Its last commit is what the agent had not committed.",
        f"Look at it: git -C {clone} log --reverse --patch {bundled.base[:12]}..{branch}",
        f"Merge it: git -C {clone} merge {branch}",
    ]
    assert commit_of(clone, branch) == bundled.commit
    assert state_of(clone) == before
    assert json.loads(again.stdout) == {
        "agent_id": ended.agent_id,
        "flow_run_id": ended.flow_run_id,
        "repository": str(clone),
        "branch": branch,
        "commit": bundled.commit,
        "replaced_commit": None,
        "base_commit": bundled.base,
    }


def test_bundle_that_was_swapped_gets_into_no_clone(
    end_run: Callable[..., EndedRun], operate: Operate, bundled: BundledWork
) -> None:
    clone = bundled.clone("clone")
    ended = end_run(agent_name())
    swapped = ended.folder / "work.bundle"
    swapped.write_bytes(swapped.read_bytes()[:-1] + b"\x00")
    before = git(clone, "for-each-ref")

    refused = operate("work", ended.flow_run_id, "--apply", str(clone), "-o", "json")

    assert refused.exit_code == 2, refused.text
    error = json.loads(refused.stdout)
    assert "is not the one that flow run" in error["error"]
    assert error["advice"] == "Do not use it; find out who can write to the result storage."
    assert git(clone, "for-each-ref") == before
    assert git(clone, "count-objects") == b"0 objects, 0 kilobytes\n"


@pytest.mark.waits(15)
def test_earlier_run_is_named_and_another_agents_is_not(
    end_run: Callable[..., EndedRun], operate: Operate
) -> None:
    earlier = end_run(agent_name(), NEVER_COLLECTED)
    end_run(earlier.agent_id)
    other = end_run(agent_name())

    shown = operate("work", earlier.agent_id, "--run", earlier.flow_run_id)
    printed = operate("work", earlier.agent_id, "--patch", "--run", earlier.flow_run_id)
    refused = operate("work", earlier.agent_id, "--run", other.flow_run_id)

    assert "Problem   The pod was \\x1b[2Jdeleted too early." in shown.stdout.splitlines()
    assert (printed.exit_code, printed.stdout) == (2, "")
    assert "has stored no patch: The pod was \\x1b[2Jdeleted too early." in printed.stderr
    assert refused.exit_code == 2
    assert f"'{other.flow_run_id}' is not one of agent '{earlier.agent_id}'" in refused.text


@pytest.mark.waits(15)
def test_run_without_work_or_result_says_what_to_do(
    end_run: Callable[..., EndedRun], operate: Operate, tmp_path: Path
) -> None:
    unasked, asked = end_run(agent_name(), None), end_run(agent_name())
    commands = [
        (["nobody"], "has no agent, Job or flow run 'nobody'"),
        ([unasked.agent_id], "Set `deliver: collect` in the next request or in the agent."),
        ([asked.agent_id, "--patch", "--apply", "."], "cannot be combined"),
        ([asked.agent_id, "--apply", str(tmp_path)], "is not a git repository that can be"),
    ]

    for arguments, said in commands:
        found = operate("work", *arguments)
        assert (found.exit_code, found.stdout) == (2, ""), found.text
        assert said in found.text
        assert "Traceback" not in found.text
