import asyncio
import json
from collections.abc import Generator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.filesystems import WritableFileSystem
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings
from tasks.ownership.agent_standing import Spending
from tasks.storage.block_storage import BlockStorage
from tasks.storage.folder_storage import FolderStorage
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_keys import StorageOwner
from tasks.usage.day_budget import DayBudgetSpent, check_day_budget, sum_spending
from tasks.usage.usage_records import (
    UsageUnreadable,
    read_recorded_usage,
    read_usage_day,
    record_usage,
)
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import AgentId
from tests.unit.storage.object_stores import BLOCK_KINDS, S3Server, make_block, running_s3_server

ADA = StorageOwner("agents", AgentId("ada"))
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


@pytest.fixture(scope="module")
def s3_server() -> Generator[S3Server, None, None]:
    with running_s3_server() as server:
        yield server


@pytest.fixture(params=["folder", *BLOCK_KINDS])
def storage(request: pytest.FixtureRequest, s3_server: S3Server, tmp_path: Path) -> ResultStorage:
    if request.param == "folder":
        return FolderStorage(tmp_path / "results")
    return BlockStorage("kind/name", make_block(request.param, s3_server, tmp_path))


async def test_what_was_recorded_is_found_by_agent_and_by_day(storage: ResultStorage) -> None:
    await record_usage(storage, result("1", 0.5))
    await record_usage(storage, result("2", None))
    await record_usage(storage, result("1", 0.5))
    await record_usage(storage, result("3", 1.0, "b/o.b"))

    ada = await read_usage_day(storage, ADA, TODAY)
    found = await read_recorded_usage(storage, [TODAY, TODAY - timedelta(days=1)])

    assert ada is not None
    assert {uid: job.cost_usd for uid, job in ada.jobs.items()} == {"1": 0.5, "2": None}
    assert sorted(day.agent_id for day in found.days) == ["ada", "b/o.b"]
    assert found.problems == []
    assert await read_usage_day(storage, ADA, date(2020, 1, 1)) is None


async def test_broken_record_is_left_as_it_is_and_named(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    key = ADA.usage(TODAY).key
    await storage.write(key, b"{}")

    for attempt in (
        record_usage(storage, result("1", 1)),
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


async def write_old_record(storage: ResultStorage, agent_id: str, at: str, **costs: float) -> None:
    """As earlier versions did: under the id as it was cut, without a namespace."""
    jobs = {
        uid: {"flow_run_id": "run", "outcome": "success", "cost_usd": cost}
        for uid, cost in costs.items()
    }
    record = {"version": 1, "agent_id": agent_id, "day": str(TODAY), "jobs": jobs}
    await storage.write(f"{at}/usage/{TODAY}.json", json.dumps(record).encode())


async def test_what_earlier_versions_recorded_counts_once_and_is_left_as_it_is(
    storage: ResultStorage,
) -> None:
    await write_old_record(storage, "ada", "ada", a=0.5, b=0.25)
    before = await read_usage_day(storage, ADA, TODAY)
    await record_usage(storage, result("b", 0.25))
    await record_usage(storage, result("c", 1.0))

    ada = await read_usage_day(storage, ADA, TODAY)
    found = await read_recorded_usage(storage, [TODAY])

    assert sum_spending(before) == Spending(0.75)
    assert sum_spending(ada) == Spending(1.75)
    [day] = found.days
    assert (day.agent_id, day.namespace, sorted(day.jobs)) == ("ada", "agents", ["a", "b", "c"])
    old = json.loads(await storage.read(f"ada/usage/{TODAY}.json"))
    assert sorted(old["jobs"]) == ["a", "b"]


async def test_agents_whose_old_keys_were_one_share_no_budget(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    one, other = "a" * 200 + "1", "a" * 200 + "2"
    await write_old_record(storage, one, "a" * 200, x=5.0)
    await record_usage(storage, result("y", 1.0, other))

    spent = [
        sum_spending(await read_usage_day(storage, StorageOwner(*owner), TODAY)).usd
        for owner in [
            ("agents", AgentId(one)),
            ("agents", AgentId(other)),
            ("others", AgentId(other)),
        ]
    ]

    assert spent == [5.0, 1.0, 0.0]


async def test_budget_of_an_agent_is_kept_in_every_kind_of_storage(storage: ResultStorage) -> None:
    assert await read_usage_day(storage, ADA, TODAY) is None
    await record_usage(storage, result("1", 0.5))
    await record_usage(storage, result("2", 0.75))

    spending = sum_spending(await read_usage_day(storage, ADA, TODAY))

    check_day_budget(ADA.agent_id, 1.5, spending, NOW)
    with pytest.raises(DayBudgetSpent):
        check_day_budget(ADA.agent_id, 1.25, spending, NOW)


def run_usage(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["usage", *arguments], env={"COLUMNS": "200"})


async def test_command_prints_table_csv_and_json(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    await record_usage(storage, result("1", 0.5))
    await record_usage(storage, result("2", None, "bob"))
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
    await FolderStorage(tmp_path).write(ADA.usage(TODAY).key, b"broken")

    broken = await asyncio.to_thread(run_usage, "--storage", str(tmp_path))
    nowhere = await asyncio.to_thread(run_usage, "--storage", "relative")

    assert broken.exit_code == 1
    assert "not a usage record" in broken.output
    assert nowhere.exit_code == 2
    assert "neither an absolute path nor a saved block" in nowhere.output
