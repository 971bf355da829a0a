"""A flow run's log towards an API that stores and answers as a test's function says."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from prefect.logging.handlers import APILogHandler
from prefect.settings import temporary_settings

from tasks.orchestrator.run_log import RunLog, open_run_log
from tests.scripted_api import reset, serve

Row = dict[str, Any]
Fault = Callable[[web.Request, list[Row]], Awaitable[web.Response | None]]
FLOW_RUN_ID = uuid4()


@dataclass
class LogApi:
    """What the API has stored; `faults` answer the first calls that bring logs, one each."""

    stored: list[Row] = field(default_factory=list[Row])
    faults: list[Fault] = field(default_factory=list[Fault])
    posts: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/csrf-token"):
            return web.Response(status=404)  # as a server that asks for none
        body = await request.json()
        if request.path.endswith("/logs/filter"):
            window = body["logs"]["timestamp"]
            after, before = (datetime.fromisoformat(window[at]) for at in ("after_", "before_"))
            found = [
                {"id": str(uuid4()), **row}
                for row in self.stored
                if after <= datetime.fromisoformat(row["timestamp"]) <= before
            ]
            return web.json_response(found[body["offset"] :][: body["limit"]])
        self.posts += 1
        fault = self.faults.pop(0) if self.faults else _store(self)
        return await fault(request, body) or web.Response(status=201)

    @property
    def messages(self) -> list[str]:
        return [row["message"] for row in sorted(self.stored, key=lambda row: row["timestamp"])]


def _store(api: LogApi) -> Fault:
    async def store(_request: web.Request, rows: list[Row]) -> None:
        api.stored += [{**row, "message": row["message"].replace("\0", "")} for row in rows]

    return store


async def _cut(request: web.Request, _rows: list[Row]) -> web.Response:
    reset(request)
    return web.Response()


async def _unavailable(_request: web.Request, _rows: list[Row]) -> web.Response:
    return web.Response(status=503)


def _store_and_cut(api: LogApi, share: float) -> Fault:
    async def store(request: web.Request, rows: list[Row]) -> web.Response:
        await _store(api)(request, rows[: int(share * len(rows))])
        return await _cut(request, rows)

    return store


class UsualWay(APILogHandler):
    """Prefect's handler, which keeps what it would send."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "send_to_api", True):
            self.messages.append(record.getMessage())


@pytest.fixture
def usual_way() -> UsualWay:
    return UsualWay()


@pytest.fixture
def logger(usual_way: UsualWay) -> logging.Logger:
    logger = logging.getLogger(f"run-log-{uuid4().hex[:8]}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(usual_way)
    return logger


@asynccontextmanager
async def _running_log(
    api: LogApi, logger: logging.Logger, folder: Path
) -> AsyncGenerator[RunLog, None]:
    settings: dict[Any, Any] = {"logging.to_api.batch_interval": 0.05}
    async with serve(api.answer) as server:
        with temporary_settings({"api.url": f"{server.url}/api", **settings}):
            async with open_run_log(logger, FLOW_RUN_ID, folder / "spool") as log:
                yield log


FAULTS: dict[str, Callable[[LogApi], list[Fault]]] = {
    "none": lambda _: [],
    "busy": lambda _: [_unavailable, _unavailable],
    "cut before it is stored": lambda _: [_cut],
    "cut when all is stored": lambda api: [_store_and_cut(api, 1.0)],
    "cut when half is stored": lambda api: [_store_and_cut(api, 0.5)],
    "several": lambda api: [_cut, _store_and_cut(api, 0.3), _unavailable, _store_and_cut(api, 0.9)],
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
async def test_every_record_is_stored_once_whatever_the_api_does(
    faults: Callable[[LogApi], list[Fault]], logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi()
    api.faults = faults(api)
    texts = [f"line {number} \0 with NUL" for number in range(450)]

    async with _running_log(api, logger, tmp_path) as log:
        for text in texts:
            log.info(text)

    assert log.missing_lines == 0
    assert not api.faults
    shown = [message.rpartition("]\n")[2] for message in api.messages]
    assert shown == [text.replace("\0", "") for text in texts]
    assert {row["flow_run_id"] for row in api.stored} == {str(FLOW_RUN_ID)}


async def test_records_of_the_time_when_the_api_was_away_are_marked_and_keep_their_time(
    logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi()
    api.faults = [_unavailable]

    async with _running_log(api, logger, tmp_path) as log:
        log.info("while it was away")

    [row] = api.stored
    mark, _, text = row["message"].partition("\n")
    assert text == "while it was away"
    at = datetime.fromisoformat(row["timestamp"])
    assert mark == (
        f"[late: Prefect's API was away when this was logged, at {at.strftime('%H:%M:%S')} UTC]"
    )


async def test_record_that_the_api_refuses_is_counted_and_holds_up_no_other(
    logger: logging.Logger, tmp_path: Path, usual_way: UsualWay
) -> None:
    api = LogApi()

    async def refuse_poison(request: web.Request, rows: list[Row]) -> web.Response | None:
        if any("poison" in row["message"] for row in rows):
            return web.Response(status=413)
        await _store(api)(request, rows)
        return None

    api.faults = [refuse_poison] * 100

    async with _running_log(api, logger, tmp_path) as log:
        log.whole_output_at = "The whole transcript is a/b in the bucket."
        for number in range(20):
            log.info(f"line {number}" if number != 7 else "poison\nof two lines")

    assert api.messages == [f"line {number}" for number in range(20) if number != 7]
    assert usual_way.messages == [
        "Lines of this log that could not be sent to Prefect's API: 2. "
        "The whole transcript is a/b in the bucket."
    ]


async def test_api_that_stays_away_holds_up_the_end_no_longer_than_it_may(
    logger: logging.Logger, tmp_path: Path, usual_way: UsualWay
) -> None:
    api = LogApi()
    api.faults = [_unavailable] * 100

    async with _running_log(api, logger, tmp_path) as log:
        log.info("one\ntwo")
        log.send_by = 0.0

    assert log.missing_lines == 2
    [said] = usual_way.messages
    assert said.startswith("Lines of this log that could not be sent to Prefect's API: 2.")


async def test_record_too_large_for_the_settings_is_cut_not_shortened(
    logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi()
    text = "ä\x1b" * 30_000

    with temporary_settings({"logging.to_api.max_log_size": 25_000}):
        async with _running_log(api, logger, tmp_path) as log:
            buffer = log.new_buffer()
            for record in [*buffer.add(text, now=0.0), *buffer.flush()]:
                log.info(record)

    assert "".join(message for message in api.messages).replace("\n", "") == text
    assert all(len(message) < 25_000 / 6 for message in api.messages)


async def test_logger_without_the_handler_of_the_api_sends_nothing(
    logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi()
    logger.handlers.clear()

    async with _running_log(api, logger, tmp_path) as log:
        log.info("for the console alone")

    assert api.posts == 0
    assert log.missing_lines == 0


async def test_rest_is_sent_where_every_task_was_cancelled(
    logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi()

    async with _running_log(api, logger, tmp_path) as log:
        sending: Any = vars(log)["_sending"]
        sending.cancel()
        log.info("said at the end")

    assert api.messages == ["said at the end"]
