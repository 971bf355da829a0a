import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.filesystems import LocalFileSystem, RemoteFileSystem, WritableFileSystem
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings
from tasks.storage.block_storage import BlockStorage
from tasks.storage.folder_storage import FolderStorage
from tasks.storage.result_storage import ResultStorage
from tasks.usage.usage_records import (
    UsageUnreadable,
    read_recorded_usage,
    read_usage_day,
    record_usage,
)
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import AgentId

ADA = AgentId("ada")
NOW = datetime.now(UTC)
TODAY = NOW.date()


class BlockThatCannotList(WritableFileSystem):
    async def read_path(self, path: str) -> bytes:
        raise ValueError(path)

    async def write_path(self, path: str, content: bytes) -> Any:
        raise ValueError(path)


def result(job_uid: str, cost_usd: float | None, agent_id: str = "ada") -> AgentRunResult:
    return AgentRunResult(
        agent_id=agent_id,
        flow_run_id="run",
        message="",
        cost_usd=cost_usd,
        timings=Timings(started_at=NOW, ended_at=NOW),
        kubernetes=KubernetesNames(namespace="agents", job_uid=job_uid),
    )


@pytest.fixture(params=["folder", "local block", "remote block"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStorage:
    match request.param:
        case "folder":
            return FolderStorage(tmp_path / "results")
        case "local block":
            return BlockStorage("local/x", LocalFileSystem(basepath=str(tmp_path)))
        case _:
            return BlockStorage("remote/x", RemoteFileSystem(basepath=f"memory://{tmp_path.name}"))


async def test_what_was_recorded_is_found_by_agent_and_by_day(storage: ResultStorage) -> None:
    await record_usage(storage, ADA, result("1", 0.5))
    await record_usage(storage, ADA, result("2", None))
    await record_usage(storage, ADA, result("1", 0.5))
    await record_usage(storage, AgentId("b/o.b"), result("3", 1.0, "b/o.b"))

    ada = await read_usage_day(storage, ADA, TODAY)
    found = await read_recorded_usage(storage, [TODAY, TODAY - timedelta(days=1)])

    assert ada is not None
    assert {uid: job.cost_usd for uid, job in ada.jobs.items()} == {"1": 0.5, "2": None}
    assert sorted(day.agent_id for day in found.days) == ["ada", "b/o.b"]
    assert found.problems == []
    assert await read_usage_day(storage, ADA, date(2020, 1, 1)) is None


async def test_broken_record_is_left_as_it_is_and_named(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    key = f"ada/usage/{TODAY}.json"
    await storage.write(key, b"{}")

    for attempt in (
        record_usage(storage, ADA, result("1", 1)),
        read_usage_day(storage, ADA, TODAY),
    ):
        with pytest.raises(UsageUnreadable, match="not a usage record of this version"):
            await attempt
    found = await read_recorded_usage(storage, [TODAY])

    assert await storage.read(key) == b"{}"
    assert found.days == []
    [problem] = found.problems
    assert key in problem


async def test_storage_that_cannot_be_searched_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    found = await read_recorded_usage(FolderStorage(tmp_path / "file"), [TODAY])

    assert len(found.problems) == 1
    assert "cannot be searched" in found.problems[0]


async def test_block_that_cannot_list_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputInvalid, match="name the same place as a path"):
        await read_recorded_usage(BlockStorage("s3/x", BlockThatCannotList()), [TODAY])


def run_usage(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["usage", *arguments], env={"COLUMNS": "200"})


async def test_command_prints_table_csv_and_json(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    await record_usage(storage, ADA, result("1", 0.5))
    await record_usage(storage, AgentId("bob"), result("2", None, "bob"))
    place = ["--storage", str(tmp_path)]

    table, of_bob, as_csv, as_json = [
        await asyncio.to_thread(run_usage, *arguments, *place)
        for arguments in ([], ["bob"], ["--csv"], ["--json"])
    ]

    assert table.exit_code == 0, table.output
    assert "$0.5000" in table.output
    assert "2 Jobs of 2 agents" in table.output
    assert "1 Jobs of 1 agents" in of_bob.output
    assert [line.split(",")[1] for line in as_csv.output.splitlines()] == ["agent_id", "ada", "bob"]
    assert [row["cost_usd"] for row in json.loads(as_json.output)["rows"]] == [0.5, None]


async def test_command_tells_what_it_could_not_read(tmp_path: Path) -> None:
    await FolderStorage(tmp_path).write(f"ada/usage/{TODAY}.json", b"broken")

    broken = await asyncio.to_thread(run_usage, "--storage", str(tmp_path))
    nowhere = await asyncio.to_thread(run_usage, "--storage", "relative")

    assert broken.exit_code == 1
    assert "not a usage record" in broken.output
    assert nowhere.exit_code == 2
    assert "neither an absolute path nor a saved block" in nowhere.output
