"""A flow run's log towards an API that stores and answers as a test's function says."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from aiohttp import web
from prefect.logging.handlers import APILogHandler
from prefect.settings import temporary_settings

from tasks.orchestrator.log_spool import LogSpool, RecordBatch
from tasks.orchestrator.run_log import RunLog, open_run_log
from tests.scripted_api import reset, serve

Row = dict[str, Any]
Fault = Callable[[web.Request, list[Row]], Awaitable[web.Response | None]]
FLOW_RUN_ID = uuid4()
# Or Prefect's client would wait for seconds before it gives up.
AT_ONCE = {"Retry-After": "0"}
# As Prefect's server writes it.
REFUSAL = {
    "exception_message": "Invalid request received.",
    "exception_detail": [{"loc": ["body", 0, "message"], "msg": "too long"}],
    "request_body": [],
}


@dataclass
class LogApi:
    """What the API has stored; `faults` answer the first calls that bring logs, one each.

    Attributes:
        default_limit: How many rows are given at once; asking for more is refused.
        cuts: How many of the next requests are cut off, whatever they are.
    """

    stored: list[Row] = field(default_factory=list[Row])
    faults: list[Fault] = field(default_factory=list[Fault])
    posts: int = 0
    default_limit: int = 200
    cuts: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.cuts:
            self.cuts -= 1
            reset(request)
            return web.Response()
        if request.path.endswith("/csrf-token"):
            return web.Response(status=404)  # as a server that asks for none
        if request.path == "/login":
            return web.Response(text="<html>Who are you?</html>", content_type="text/html")
        body = await request.json()
        if request.path.endswith("/logs/filter"):
            limit = body["limit"] or self.default_limit
            if limit > self.default_limit:
                return web.json_response({"detail": "Invalid limit"}, status=422)
            window = body["logs"]["timestamp"]
            after, before = (datetime.fromisoformat(window[at]) for at in ("after_", "before_"))
            found = [
                {"id": str(uuid4()), **row}
                for row in self.stored
                if after <= datetime.fromisoformat(row["timestamp"]) <= before
            ]
            return web.json_response(found[body["offset"] :][:limit])
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
    return web.Response(status=503, headers=AT_ONCE)


def _store_and_cut(api: LogApi, share: float) -> Fault:
    async def store(request: web.Request, rows: list[Row]) -> web.Response:
        await _store(api)(request, rows[: int(share * len(rows))])
        return await _cut(request, rows)

    return store


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


async def _wait_until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 # what is waited for is an answer of the API's
            await asyncio.sleep(0.01)


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
    api: LogApi, logger: logging.Logger, folder: Path, **more: Any
) -> AsyncGenerator[RunLog, None]:
    settings: dict[Any, Any] = {"logging.to_api.batch_interval": 0.05}
    async with serve(api.answer) as server:
        with temporary_settings({"api.url": f"{server.url}/api", **settings}):
            async with open_run_log(logger, FLOW_RUN_ID, folder / "spool", **more) as log:
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
            return web.json_response(REFUSAL, status=422)
        await _store(api)(request, rows)
        return None

    api.faults = [refuse_poison] * 100

    async with _running_log(api, logger, tmp_path) as log:
        log.whole_output_at = "The transcript file is a/b in the bucket."
        for number in range(20):
            log.info(f"line {number}" if number != 7 else "poison\nof two lines")

    assert api.messages == [f"line {number}" for number in range(20) if number != 7]
    assert usual_way.messages == [
        "Lines of this log that could not be sent to Prefect's API: 2. "
        "It refused 2 of them. The transcript file is a/b in the bucket."
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


HTML = "<html><body>nothing to see here</body></html>"
Write = Callable[[], web.Response]


def _page(code: int, text: str = HTML, **headers: str) -> Write:
    return lambda: web.Response(
        status=code, text=text, content_type="text/html", headers={**AT_ONCE, **headers}
    )


def _json(code: int, body: object) -> Write:
    return lambda: web.json_response(body, status=code, headers=AT_ONCE)


def _malformed(code: int) -> Write:
    return lambda: web.Response(status=code, text='{"detail": ', content_type="application/json")


NOT_OF_THE_RECORD: dict[str, Write] = {
    "200 page": _page(200),
    "200 json": _json(200, {"ok": True}),
    "302 to a page": _page(302, Location="/login"),
    "304": _page(304),
    "307 to a page": _page(307, Location="/login"),
    "400 page": _page(400),
    "401 of prefect": _json(401, {"exception_message": "Unauthorized"}),
    "403 page": _page(403),
    "403 of prefect": _json(403, {"detail": "Invalid CSRF token or client identifier."}),
    "404 page": _page(404),
    "404 of a framework": _json(404, {"detail": "Not Found"}),
    "404 empty": lambda: web.Response(status=404),
    "405 page": _page(405),
    "408 page": _page(408),
    "409 of prefect": _json(409, {"detail": "Data integrity conflict."}),
    "410 page": _page(410),
    "413 page": _page(413),
    "422 page": _page(422),
    "422 malformed": _malformed(422),
    "422 no object": _json(422, ["detail"]),
    "422 of something else": _json(422, {"error": "no"}),
    "429 page": _page(429),
    "451 page": _page(451),
    "500 of prefect": _json(500, {"exception_message": "Internal Server Error"}),
    "502 page": _page(502),
    "503 page": _page(503),
    "504 page": _page(504),
}


@pytest.mark.parametrize("write", NOT_OF_THE_RECORD.values(), ids=NOT_OF_THE_RECORD.keys())
async def test_answer_that_is_not_prefects_own_about_the_record_drops_none(
    write: Write, logger: logging.Logger, tmp_path: Path, usual_way: UsualWay
) -> None:
    api = LogApi()

    async def answer(_request: web.Request, _rows: list[Row]) -> web.Response:
        return write()

    api.faults = [answer] * 2
    texts = [f"line {number}" for number in range(5)]

    async with _running_log(api, logger, tmp_path, sleep=_at_once) as log:
        log.info(texts[0])
        await _wait_until(lambda: len(api.faults) < 2)
        for text in texts[1:]:
            log.info(text)

    assert [message.rpartition("]\n")[2] for message in api.messages] == texts
    assert (log.missing_lines, usual_way.messages) == (0, [])


OF_THE_RECORD: dict[str, Write] = {
    "413 of prefect": _json(413, {"detail": "Too large."}),
    "422 of prefect": _json(422, REFUSAL),
    "422 of prefect's framework": _json(422, {"detail": [{"msg": "too long"}]}),
}


@pytest.mark.parametrize("write", OF_THE_RECORD.values(), ids=OF_THE_RECORD.keys())
async def test_prefects_own_refusal_drops_the_record_and_counts_it(
    write: Write, logger: logging.Logger, tmp_path: Path, usual_way: UsualWay
) -> None:
    api = LogApi()

    async def answer(_request: web.Request, _rows: list[Row]) -> web.Response:
        return write()

    api.faults = [answer]

    async with _running_log(api, logger, tmp_path) as log:
        log.info("one\ntwo")

    assert (api.stored, log.missing_lines) == ([], 2)
    [said] = usual_way.messages
    assert "could not be sent to Prefect's API: 2. It refused 2 of them." in said


async def test_record_that_something_on_the_way_refuses_holds_up_no_other_and_is_counted(
    logger: logging.Logger, tmp_path: Path, usual_way: UsualWay
) -> None:
    api = LogApi()
    sent_last = asyncio.Event()

    async def refuse_poison(request: web.Request, rows: list[Row]) -> web.Response | None:
        if any("poison" in row["message"] for row in rows):
            # The next request says that the answer to the last one has arrived.
            if len(api.stored) == 19:
                sent_last.set()
            return web.Response(status=403, text=HTML, content_type="text/html")
        await _store(api)(request, rows)
        return None

    api.faults = [refuse_poison] * 1000

    async with _running_log(api, logger, tmp_path, sleep=_at_once) as log:
        for number in range(20):
            log.info(f"line {number}" if number != 7 else "poison")
        await sent_last.wait()
        log.send_by = 0.0

    shown = [message.rpartition("]\n")[2] for message in api.messages]
    assert shown == [f"line {number}" for number in range(20) if number != 7]
    [said] = usual_way.messages
    assert said.startswith(
        "Lines of this log that could not be sent to Prefect's API: 1. The last try: HTTP 403."
    )


async def test_lookup_that_the_api_refuses_drops_no_record(
    logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi(default_limit=3)
    api.faults = [_store_and_cut(api, 0.5)]
    texts = [f"line {number}" for number in range(20)]

    async with _running_log(api, logger, tmp_path) as log:
        for text in texts:
            log.info(text)

    assert [message.rpartition("]\n")[2] for message in api.messages] == texts


async def test_rest_of_a_batch_whose_answer_was_lost_is_stored_once_though_it_is_sent_in_parts(
    logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi()

    async def store_and_fail(request: web.Request, rows: list[Row]) -> web.Response:
        await _store(api)(request, rows)
        return web.Response(status=504, text=HTML, content_type="text/html")

    api.faults = [store_and_fail, *[_unavailable] * 4]
    texts = [f"line {number}" for number in range(50)]

    async with _running_log(api, logger, tmp_path, sleep=_at_once) as log:
        for text in texts:
            log.info(text)

    assert [message.rpartition("]\n")[2] for message in api.messages] == texts


@pytest.mark.timeout(120)  # 1,200 requests; a busy machine takes its time
async def test_api_that_was_away_for_hours_gets_everything_when_it_is_back(
    logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi(cuts=1_200)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    async with _running_log(api, logger, tmp_path, sleep=sleep) as log:
        log.info("said at first")
        await _wait_until(lambda: bool(api.stored), seconds=100)

    assert [message.rpartition("]\n")[2] for message in api.messages] == ["said at first"]
    assert len(pauses) >= 1_200
    assert max(pauses) <= 15.0


async def test_text_that_no_request_can_carry_is_made_one_that_can(
    logger: logging.Logger, tmp_path: Path
) -> None:
    api = LogApi()

    async with _running_log(api, logger, tmp_path, sleep=_at_once) as log:
        log.info("half a pair: \ud83d")
        log.info("the next")

    assert api.messages == ["half a pair: ?", "the next"]


async def test_sender_survives_whatever_is_raised(logger: logging.Logger, tmp_path: Path) -> None:
    api = LogApi()
    failures = 3

    class FailingSpool(LogSpool):
        def first(self, bytes_max: int) -> RecordBatch:
            nonlocal failures
            if failures:
                failures -= 1
                raise OSError("the disk is away")
            return super().first(bytes_max)

    async with serve(api.answer) as server:
        settings: dict[Any, Any] = {"api.url": f"{server.url}/api"}
        with temporary_settings(settings):
            spool = FailingSpool(tmp_path / "spool")
            log = RunLog(logger, FLOW_RUN_ID, spool, sleep=_at_once)
            log.info("said all the same")
            await log.close(20)

    assert failures == 0
    assert [message.rpartition("]\n")[2] for message in api.messages] == ["said all the same"]


@pytest.mark.timeout(180)  # the server's start
@pytest.mark.usefixtures("block_server")
async def test_refusal_of_a_real_server_is_known_as_prefects_own(
    logger: logging.Logger, tmp_path: Path, usual_way: UsualWay
) -> None:
    no_id = cast("Any", "no id")

    async with open_run_log(logger, no_id, tmp_path / "spool") as log:
        log.info("said")

    assert log.missing_lines == 1
    assert "It refused 1 of them." in usual_way.messages[0]
