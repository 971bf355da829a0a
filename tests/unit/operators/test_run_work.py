"""What is read of a run's work from a storage, and refused if it is not what the run has stored."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.operators.operator_errors import NotDone, NotPossible
from tasks.operators.run_work import RunWork, require_work
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings, WorkResult
from tasks.storage.folder_storage import FolderStorage
from tasks.vocabulary.names import AgentId, FlowRunId

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADA, RUN = AgentId("ada"), FlowRunId("run-1")
BUNDLE, PATCH = b"# v2 git bundle\n\x00\xff", b"diff \xff\x1b[2J\r\n"
SHA256 = hashlib.sha256(BUNDLE).hexdigest()
BUNDLE_KEY, PATCH_KEY = "ada/run-1/1/work.bundle", "ada/run-1/1/changes.patch"
NOTHING = WorkResult(collected=True, commits=0, files_changed=0)


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    folder = tmp_path / "results"
    for key, content in ((BUNDLE_KEY, BUNDLE), (PATCH_KEY, PATCH)):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    return FolderStorage(folder)


def of(storage: FolderStorage, **fields: Any) -> RunWork:
    known: dict[str, Any] = {
        "collected": True,
        "bundle_key": BUNDLE_KEY,
        "bundle_sha256": SHA256,
        "patch_key": PATCH_KEY,
    }
    return RunWork(ADA, RUN, WorkResult(**{**known, **fields}), storage)


async def test_bundle_and_patch_are_read_as_they_are(
    storage: FolderStorage, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    await of(storage).read_bundle(target)
    assert target.read_bytes() == BUNDLE

    await of(storage).read_patch(target)
    assert target.read_bytes() == PATCH


@pytest.mark.parametrize("sha256", [None, "", SHA256.upper(), "0" * 64])
async def test_bundle_that_was_swapped_is_refused(
    storage: FolderStorage, tmp_path: Path, sha256: str | None
) -> None:
    with pytest.raises(NotPossible, match="is not the one that flow run run-1 has stored") as told:
        await of(storage, bundle_sha256=sha256).read_bundle(tmp_path / "target")

    assert f"its SHA-256 is {SHA256}, and the result says {sha256 or 'none'}." in str(told.value)


@pytest.mark.parametrize(
    "key", ["/etc/passwd", "../outside", "ada/../../outside", "", "a//b", "a/\x1b[2J", "a\n", "a/"]
)
async def test_key_that_leads_elsewhere_is_not_read(
    storage: FolderStorage, tmp_path: Path, key: str
) -> None:
    (tmp_path / "outside").write_bytes(BUNDLE)
    run = of(storage, bundle_key=key, patch_key=key)

    for reading in (run.read_bundle(tmp_path / "target"), run.read_patch(tmp_path / "target")):
        with pytest.raises(NotPossible, match="is not one that a run writes") as told:
            await reading
        assert "\x1b" not in told.value.message
    assert not (tmp_path / "target").exists()


async def test_file_that_is_gone_from_the_storage_is_named(
    storage: FolderStorage, tmp_path: Path
) -> None:
    (tmp_path / "results" / BUNDLE_KEY).unlink()

    with pytest.raises(NotPossible, match=f"is not in the result storage any .*{BUNDLE_KEY}"):
        await of(storage).read_bundle(tmp_path / "target")


async def test_storage_that_cannot_be_read_is_a_sentence(
    storage: FolderStorage, tmp_path: Path
) -> None:
    with pytest.raises(NotDone, match=f"{PATCH_KEY} could not be read: “.*No space|Not a dir|Is a"):
        await of(storage).read_patch(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message", "advice"),
    [
        pytest.param(
            {"bundle_key": None, "left_out": ("There is no bundle: \x1b[2J\nit is too large.",)},
            "Flow run run-1 has stored no bundle: There is no bundle: \\x1b[2J it is too large.",
            "Its patch is stored: `--patch` prints it, for `git apply`.",
            id="left out",
        ),
        pytest.param(
            {"bundle_key": None, "patch_key": None, "problem": "The pod was deleted."},
            "Flow run run-1 has stored no bundle: The pod was deleted.",
            "`claude-jobs work ada --run run-1` shows what is left.",
            id="not collected",
        ),
        pytest.param(
            {"bundle_key": None, "patch_key": None},
            "Flow run run-1 has stored no bundle.",
            "`claude-jobs work ada --run run-1` shows what is left.",
            id="unknown",
        ),
        pytest.param(
            NOTHING.model_dump() | {"patch_key": None},
            "Flow run run-1 has changed nothing, so it has no bundle.",
            "`claude-jobs show run-1` shows what it did instead.",
            id="nothing changed",
        ),
    ],
)
async def test_bundle_that_was_not_stored_is_told_with_why(
    storage: FolderStorage, tmp_path: Path, fields: dict[str, Any], message: str, advice: str
) -> None:
    with pytest.raises(NotPossible) as told:
        await of(storage, **fields).read_bundle(tmp_path / "target")

    assert (told.value.message, told.value.advice) == (message, advice)


async def test_patch_that_was_not_stored_is_told_with_the_bundle(
    storage: FolderStorage, tmp_path: Path
) -> None:
    with pytest.raises(NotPossible, match="has stored no patch") as told:
        await of(storage, patch_key=None).read_patch(tmp_path / "target")

    assert told.value.advice == "Its bundle is stored: `--apply DIR` fetches it into a clone."


async def test_patch_of_no_change_is_empty(storage: FolderStorage, tmp_path: Path) -> None:
    await RunWork(ADA, RUN, NOTHING, storage).read_patch(tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == b""


def a_result(work: WorkResult | None) -> AgentRunResult:
    return AgentRunResult(
        agent_id=ADA,
        flow_run_id=RUN,
        message="It ended.",
        timings=Timings(started_at=NOON, ended_at=NOON),
        kubernetes=KubernetesNames(namespace="agents"),
        work=work,
    )


@pytest.mark.parametrize(
    ("result", "at_work", "message"),
    [
        pytest.param(None, True, "Agent ada is at work in flow run run-1", id="at work"),
        pytest.param(None, False, "No result of flow run run-1 of agent ada can", id="no result"),
        pytest.param(a_result(None), False, "has collected no work, because", id="not asked"),
    ],
)
def test_run_without_work_is_told_with_why(
    result: AgentRunResult | None, at_work: bool, message: str
) -> None:
    with pytest.raises(NotPossible, match=message):
        require_work(ADA, RUN, result, at_work=at_work)


@pytest.mark.parametrize("at_work", [True, False])
def test_work_of_a_result_counts_also_while_the_pod_ends(at_work: bool) -> None:
    assert require_work(ADA, RUN, a_result(NOTHING), at_work=at_work) is NOTHING
