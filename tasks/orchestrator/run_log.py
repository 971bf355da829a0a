"""A flow run's log in Prefect, which misses nothing while the API is away.

Prefect's own handler gives records up when the API cannot be reached, and sends a batch again
whose answer was lost, stored or not. So these records opt out of it: they are spooled and sent from
there until the API has them. Whatever was sent without an answer is looked up before it is sent
again. Only Prefect itself can refuse a record for good, by an answer about this very record: what
a proxy, a login page or a restarting server answers says nothing about it.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from logging import INFO, Logger, LoggerAdapter
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import anyio
import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import LogFilter
from prefect.client.schemas.objects import Log
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings
from tenacity import AsyncRetrying, RetryCallState

from tasks.orchestrator.log_spool import LogSpool, RecordBatch, SpooledRecord
from tasks.text.log_records import RECORD_BYTES_MAX, RecordBuffer, cut_text
from tasks.vocabulary.backoff import Backoff

RunLogger = Logger | LoggerAdapter[Any]

_BATCH_BYTES = 512 * 1024
_ANSWER_SECONDS = 60.0
_LONGEST_PAUSE_AT_END_SECONDS = 1.0
# What a run's end waits for its log: an API server that restarts is back by then.
_REST_SECONDS = 120.0
# Where the process was told to stop, it has more urgent things to do.
_STOPPED_REST_SECONDS = 4.0
# A record's other fields, and the mark of a late one.
_OTHER_BYTES = 600
_CREATED = 201
# The only ones with which Prefect speaks of what was sent, and not of who asks, when or where.
_REFUSING_CODES = frozenset({413, 422})
# One of them is in every refusal that Prefect's server, or the framework it is built on, writes.
_REFUSAL_FIELDS = frozenset({"exception_message", "detail"})

_BACKOFF = Backoff(0.5, 15.0, least_share=0.0)

Sleep = Callable[[float], Awaitable[None]]


class _RecordsRefused(Exception):
    """Prefect will never take these records as they are."""


class _ForeignAnswer(Exception):
    """Something else than Prefect has answered, as if all was well."""


@asynccontextmanager
async def open_run_log(
    logger: RunLogger, flow_run_id: UUID, spool_path: Path, *, sleep: Sleep = asyncio.sleep
) -> AsyncGenerator["RunLog", None]:
    """Open a flow run's log; at the end, wait within bounds until the API has all of it.

    Raises:
        OSError: The spool cannot be created.
    """
    spool = LogSpool(spool_path)
    log = RunLog(logger, flow_run_id, spool, sleep=sleep)
    seconds = _STOPPED_REST_SECONDS
    try:
        yield log
        seconds = _REST_SECONDS
    finally:
        with anyio.CancelScope(shield=True):
            await log.close(seconds)
        spool.close()


class RunLog:
    """Writes a flow run's log; every record reaches Prefect's API once, or is counted as missing.

    Attributes:
        record_bytes_max: What a record may take as JSON without being cut.
        send_by: When sending must be over, on the monotonic clock; infinite if nobody said.
        whole_output_at: One sentence on where people find what the log misses.
    """

    def __init__(
        self,
        logger: RunLogger,
        flow_run_id: UUID,
        spool: LogSpool,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Start sending in the background.

        Args:
            logger: The flow run's own.
            flow_run_id: Whose log it is in the API.
            spool: Empty.
            sleep: Waits between tries, in seconds.
        """
        self._sleep = sleep
        self._logger = logger
        self._flow_run_id = flow_run_id
        self._spool = spool
        self._to_api = get_current_settings().logging.to_api
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._last_logged_at = self._away_until = datetime.min.replace(tzinfo=UTC)
        # What was logged until then has been sent before, perhaps; so it may be stored.
        self._tried_until = self._away_until
        self._client: PrefectClient | None = None
        self._client_stack = AsyncExitStack()
        self._last_failure = ""
        self._batch_bytes = _BATCH_BYTES
        self._refused_lines = 0
        self.send_by = math.inf
        self.whole_output_at = "The Job's own log has its output as long as the Job is kept."
        limit = self._to_api.max_log_size - _OTHER_BYTES
        self.record_bytes_max = max(_OTHER_BYTES, min(RECORD_BYTES_MAX, limit))
        self._sending = asyncio.create_task(self._keep_sending())

    @property
    def missing_lines(self) -> int:
        """How many lines the API does not have, or is not known to have."""
        return self._spool.waiting_lines + self._refused_lines

    def new_buffer(self) -> RecordBuffer:
        """Return a buffer whose records need not be cut."""
        return RecordBuffer(self.record_bytes_max)

    def info(self, text: str) -> None:
        """Log a text: to the process's other handlers at once, to the API with the next batch."""
        # Half of a surrogate pair, as JSON can bring it, can neither be sent nor be printed.
        text = text.encode(errors="replace").decode()
        for piece in cut_text(text, self.record_bytes_max):
            self._logger.info(piece, extra={"send_to_api": not self._spooled(piece)})

    async def close(self, seconds: float) -> None:
        """Send what still waits, and say what could not be sent in time."""
        self._closing.set()
        self._news.set()
        give_up_at = min(time.monotonic() + seconds, self.send_by)
        while self._spool.waiting_lines and (left := give_up_at - time.monotonic()) > 0:
            if self._sending.cancelled():
                # SIGTERM cancels every task of the event loop.
                self._sending = asyncio.create_task(self._keep_sending())
            await asyncio.wait({self._sending}, timeout=left)
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)
        if self.missing_lines:
            self._logger.warning(self._missing_text())

    def _missing_text(self) -> str:
        sentences = [
            f"Lines of this log that could not be sent to Prefect's API: {self.missing_lines:,}."
        ]
        if self._refused_lines:
            sentences.append(f"It refused {self._refused_lines:,} of them.")
        if self._spool.waiting_lines and self._last_failure:
            sentences.append(f"The last try: {self._last_failure}.")
        return " ".join([*sentences, self.whole_output_at])

    def _spooled(self, message: str) -> bool:
        """Spool a record for the API; false where the usual way is the right one."""
        if not (self._to_api.enabled and _reaches_api(self._logger)):
            return False
        # Alone it tells whether the API has the record.
        now = max(datetime.now(UTC), self._last_logged_at + timedelta(microseconds=1))
        try:
            self._spool.append(SpooledRecord(now, message))
        except OSError:
            # A full disk: the usual way may lose it.
            return False
        self._last_logged_at = now
        self._news.set()
        return True

    async def _keep_sending(self) -> None:
        """Send in batches as far apart as Prefect's settings say, until the log is closed.

        Survives every exception: whatever it is, the API may not have the records.
        """
        # The client would send again by itself what the API may have stored.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            try:
                while True:
                    await self._news.wait()
                    self._news.clear()
                    while self._spool.waiting_lines:
                        retrying = AsyncRetrying(wait=_pause_seconds, sleep=self._pause)
                        await retrying(self._send_first)
                    if self._closing.is_set():
                        return
                    await self._pause(self._to_api.batch_interval)
            finally:
                await self._disconnect()

    async def _send_first(self) -> None:
        """Send the records at the front of the spool, or give up those that Prefect refuses.

        Raises:
            Exception: They were not sent, or it is unknown whether they were.
        """
        batch: RecordBatch | None = None
        try:
            batch = self._spool.first(self._batch_bytes)
            await self._send(batch)
            self._batch_bytes = min(2 * self._batch_bytes, _BATCH_BYTES)
        except Exception as error:
            self._last_failure = _describe_failure(error)
            if batch is not None and isinstance(error, _RecordsRefused):
                self._give_up_or_split(batch)
                return
            self._away_until = datetime.now(UTC)
            # Where nobody has answered, the records were not the reason.
            if batch is not None and not isinstance(error, httpx.TransportError):
                self._send_otherwise(batch)
                # It has drawn conclusions from such answers, as that it needs no CSRF token.
                await self._disconnect()
            raise

    async def _send(self, batch: RecordBatch) -> None:
        client = await self._connect()
        sent_before = [record for record in batch.records if record.logged_at <= self._tried_until]
        stored = await self._read_stored(client, sent_before) if sent_before else []
        missing = [record for record in batch.records if not _is_among(record, stored)]
        if missing:
            newest = max(record.logged_at for record in missing)
            self._tried_until = max(self._tried_until, newest)
            await _store(client, [self._to_log(record) for record in missing])
        self._spool.drop(batch)

    async def _read_stored(
        self, client: PrefectClient, records: Sequence[SpooledRecord]
    ) -> list[Log]:
        """Return what the API has of the time of these records."""
        times = [record.logged_at for record in records]
        wanted = LogFilter.model_validate(
            {
                "flow_run_id": {"any_": [self._flow_run_id]},
                "timestamp": {"after_": min(times), "before_": max(times)},
            }
        )
        found: list[Log] = []
        # As many at a time as the server likes: it refuses to be asked for more.
        while page := await client.read_logs(wanted, offset=len(found)):
            found += page
        return found

    def _give_up_or_split(self, batch: RecordBatch) -> None:
        """Send less at once after Prefect's refusal; give up what is refused by itself."""
        if len(batch.records) > 1:
            self._batch_bytes = batch.size_bytes // 2
            return
        self._refused_lines += sum(record.lines for record in batch.records)
        self._spool.drop(batch)
        self._batch_bytes = _BATCH_BYTES

    def _send_otherwise(self, batch: RecordBatch) -> None:
        """Send less at once, or others first, in case that something dislikes these records.

        A proxy that takes no large request, or that finds an attack in a text, holds up no other
        record by that.
        """
        if len(batch.records) > 1:
            self._batch_bytes = batch.size_bytes // 2
        else:
            self._spool.put_last(batch)

    async def _connect(self) -> PrefectClient:
        if self._client is None:
            client = get_client(httpx_settings={"timeout": _ANSWER_SECONDS})
            self._client = await self._client_stack.enter_async_context(client)
        return self._client

    async def _disconnect(self) -> None:
        self._client = None
        with suppress(Exception):
            await self._client_stack.aclose()

    def _to_log(self, record: SpooledRecord) -> dict[str, object]:
        """Return a record as the API takes it: under its own time, however late it is."""
        is_late = record.logged_at <= self._away_until
        return {
            "name": self._logger.name,
            "level": INFO,
            "message": f"{_late_mark(record)}\n{record.message}" if is_late else record.message,
            "timestamp": record.logged_at.isoformat(),
            "flow_run_id": str(self._flow_run_id),
        }

    async def _pause(self, seconds: float) -> None:
        """Wait, but not long once the log is being closed."""
        if self._closing.is_set():
            await self._sleep(min(seconds, _LONGEST_PAUSE_AT_END_SECONDS))
            return
        waits = [
            asyncio.ensure_future(self._sleep(seconds)),
            asyncio.create_task(self._closing.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _reaches_api(logger: RunLogger) -> bool:
    """Tell whether what is logged here goes to the API, as Prefect's logging is configured."""
    if not logger.isEnabledFor(INFO):
        return False
    at: Logger | None = logger if isinstance(logger, Logger) else logger.logger
    while at is not None:
        if any(isinstance(handler, APILogHandler) for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False


def _late_mark(record: SpooledRecord) -> str:
    at = record.logged_at.strftime("%H:%M:%S")
    return f"[late: Prefect's API was away when this was logged, at {at} UTC]"


def _is_among(record: SpooledRecord, logs: list[Log]) -> bool:
    """Tell whether the API has a record, marked as late or not; NUL it does not keep."""
    text = record.message.replace("\0", "")
    return any(log.timestamp == record.logged_at and log.message.endswith(text) for log in logs)


async def _store(client: PrefectClient, rows: Sequence[dict[str, object]]) -> None:
    """Have the API store rows.

    Raises:
        _RecordsRefused: Prefect itself says that it never will.
        _ForeignAnswer: What looks like a success is not Prefect's, such as that of a login page.
        Exception: They were not stored, or it is unknown whether they were.
    """
    try:
        answer = await client.request("POST", "/logs/", json=list(rows))
    except PrefectHTTPStatusError as error:
        if _is_refusal(error.response):
            raise _RecordsRefused from error
        raise
    if answer.status_code != _CREATED:
        raise _ForeignAnswer


def _is_refusal(answer: httpx.Response) -> bool:
    """Tell whether this is Prefect's own word on the rows, of which there is no other proof."""
    if answer.status_code not in _REFUSING_CODES or answer.history:
        return False
    try:
        body: Any = answer.json()
    except ValueError:
        return False
    return isinstance(body, dict) and not _REFUSAL_FIELDS.isdisjoint(cast("dict[str, Any]", body))


def _describe_failure(error: Exception) -> str:
    # No message: it may quote an answer, or an address with credentials.
    if isinstance(error, PrefectHTTPStatusError):
        return f"HTTP {error.response.status_code}"
    if isinstance(error, _ForeignAnswer):
        return "an answer that is not Prefect's"
    return type(error).__name__


def _pause_seconds(state: RetryCallState) -> float:
    """Return how long to wait between tries; stays bounded however long the API is away."""
    return _BACKOFF.delay_seconds(state.attempt_number)
