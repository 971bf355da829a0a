"""Results, transcripts and session notes in every kind of storage, of this version and before."""

import gzip
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.observation.snapshots import JobSnapshot
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings
from tasks.storage.block_storage import BlockStorage
from tasks.storage.folder_storage import FolderStorage
from tasks.storage.result_storage import ResultStorage
from tasks.storage.session_memory import SessionMemory
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.storage.storage_keys import AttemptFolder, StorageOwner, transcript_key
from tasks.storage.stored_results import (
    read_earlier_results,
    read_stored_result,
    read_stored_transcript,
    write_result,
)
from tasks.storage.stored_sessions import read_session_memory, write_session_memory
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid
from tests.unit.storage.object_stores import S3Server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = FlowRunId("0b6f5f0e-7f3c-4d57-8f1c-1f6f7a3f2d11")
ADA = StorageOwner("agents", AgentId("ada"))
OTHERS = [
    pytest.param(StorageOwner("others", AgentId("ada")), RUN, id="namespace"),
    pytest.param(StorageOwner("agents", AgentId("Ada")), RUN, id="agent"),
    pytest.param(ADA, FlowRunId("another"), id="flow_run"),
]


def a_result(owner: StorageOwner = ADA, flow_run_id: str = RUN, **fields: Any) -> AgentRunResult:
    return AgentRunResult(
        agent_id=owner.agent_id,
        flow_run_id=flow_run_id,
        message="It ended.",
        timings=Timings(started_at=NOW, ended_at=NOW),
        kubernetes=KubernetesNames(namespace=owner.namespace),
        **fields,
    )


def a_note(**fields: Any) -> SessionMemory:
    known: dict[str, Any] = {
        "task_id": "T-1",
        "session_id": "s-1",
        "cwd": "/home",
        "flow_run_id": RUN,
    }
    return SessionMemory(**{**known, **fields})


async def test_result_is_none_until_it_is_written(block_storage: BlockStorage) -> None:
    folder = ADA.own_attempt(RUN, 2)

    assert await read_stored_result(block_storage, folder) is None
    assert await read_earlier_results(block_storage, ADA, RUN, 3) == []
    await write_result(block_storage, folder.path, a_result(attempt=2))

    assert await read_stored_result(block_storage, folder) == a_result(attempt=2)
    assert await read_earlier_results(block_storage, ADA, RUN, 3) == [a_result(attempt=2)]


async def test_session_is_none_until_it_is_noted(block_storage: BlockStorage) -> None:
    assert await read_session_memory(block_storage, ADA, "T-1") is None
    await write_session_memory(block_storage, ADA, a_note())

    assert await read_session_memory(block_storage, ADA, "T-1") == a_note()
    for owner in (
        StorageOwner("others", ADA.agent_id),
        StorageOwner(ADA.namespace, AgentId("Ada")),
    ):
        assert await read_session_memory(block_storage, owner, "T-1") is None
    assert await read_session_memory(block_storage, ADA, "t-1") is None


async def test_bucket_that_is_gone_is_no_missing_result(s3_server: S3Server) -> None:
    storage = BlockStorage("s3-bucket/results", s3_server.s3_block("no-such-bucket"))

    with pytest.raises(AgentRunError, match="bucket or container of block s3-bucket/results does"):
        await read_stored_result(storage, ADA.own_attempt(RUN, 1))


@pytest.fixture
async def old_storage(tmp_path_factory: pytest.TempPathFactory) -> ResultStorage:
    """What an earlier version has left: a run of two attempts, a Job taken over, a session."""
    storage = FolderStorage(tmp_path_factory.mktemp("old"))
    for name in ("1", "2", "adopted-job-1"):
        result = a_result(summary=name)
        await storage.write(f"ada/{RUN}/{name}/result.json", result.model_dump_json().encode())
        packed = gzip.compress(name.encode())
        await storage.write(f"ada/{RUN}/{name}/transcript.jsonl.gz", packed)
    await storage.write("ada/sessions/T-1.json", a_note().model_dump_json().encode())
    return storage


def old_folders(owner: StorageOwner, flow_run_id: FlowRunId) -> dict[str, AttemptFolder]:
    taken_over = JobSnapshot(JobName("job-1"), JobUid("u"), flow_run_id=FlowRunId("another run"))
    return {
        "1": owner.own_attempt(flow_run_id, 1),
        "2": owner.own_attempt(flow_run_id, 2),
        "adopted-job-1": owner.attempt_of(flow_run_id, taken_over),
    }


async def test_what_an_earlier_version_has_stored_is_found(old_storage: ResultStorage) -> None:
    for name, folder in old_folders(ADA, RUN).items():
        result = await read_stored_result(old_storage, folder)
        assert result is not None
        assert result.summary == name
        assert gzip.decompress(await read_stored_transcript(old_storage, folder)) == name.encode()
    assert len(await read_earlier_results(old_storage, ADA, RUN, 3)) == 2
    assert await read_session_memory(old_storage, ADA, "T-1") == a_note()


async def test_what_is_written_now_goes_before_what_an_earlier_version_has_stored(
    old_storage: ResultStorage,
) -> None:
    folder = ADA.own_attempt(RUN, 1)
    await write_result(old_storage, folder.path, a_result(summary="new"))
    await old_storage.write(transcript_key(folder.path), b"new")
    await write_session_memory(old_storage, ADA, a_note(session_id="s-2"))

    result = await read_stored_result(old_storage, folder)
    noted = await read_session_memory(old_storage, ADA, "T-1")

    assert result is not None
    assert (result.summary, noted) == ("new", a_note(session_id="s-2"))
    assert await read_stored_transcript(old_storage, folder) == b"new"


@pytest.mark.parametrize(("owner", "flow_run_id"), OTHERS)
async def test_what_lies_under_an_old_key_is_nobody_elses(
    old_storage: FolderStorage, owner: StorageOwner, flow_run_id: FlowRunId
) -> None:
    asked = old_folders(owner, flow_run_id)
    for name, mine in old_folders(ADA, RUN).items():
        # As if the old keys of both had been cut to the same.
        folder = AttemptFolder(owner, flow_run_id, asked[name].path, mine.old_path)
        assert await read_stored_result(old_storage, folder) is None
        with pytest.raises(StoredObjectMissing):
            await read_stored_transcript(old_storage, folder)


@pytest.mark.parametrize(
    ("owner", "note"),
    [
        pytest.param(StorageOwner("others", AgentId("ada")), a_note(), id="namespace"),
        pytest.param(ADA, a_note(flow_run_id="another"), id="run_without_a_result"),
        pytest.param(ADA, a_note(task_id="T-2"), id="task"),
    ],
)
async def test_session_that_an_earlier_version_noted_is_nobody_elses(
    old_storage: FolderStorage, owner: StorageOwner, note: SessionMemory
) -> None:
    await old_storage.write("ada/sessions/T-1.json", note.model_dump_json().encode())

    assert await read_session_memory(old_storage, owner, "T-1") is None
