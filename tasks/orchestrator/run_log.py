"""A flow run's log in Prefect, which misses nothing while the API is away.

Prefect's own handler gives records up when the API cannot be reached, and sends a batch again
whose answer was lost, stored or not. So these records opt out of it: they are spooled and sent from
there, in order, until the API has them. Whatever was sent without an answer is looked up before
it is sent again.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from logging import INFO, Logger, LoggerAdapter
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import LogFilter
from prefect.client.schemas.objects import Log
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

from tasks.orchestrator.log_spool import LogSpool, RecordBatch, SpooledRecord
from tasks.text.log_records import RECORD_BYTES_MAX, RecordBuffer, cut_text

RunLogger = Logger | LoggerAdapter[Any]

_BATCH_BYTES = 512 * 1024
_ANSWER_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 15.0
_LONGEST_PAUSE_AT_END_SECONDS = 1.0
# What a run's end waits for its log: an API server that restarts is back by then.
_REST_SECONDS = 120.0
# Where the process was told to stop, it has more urgent things to do.
_STOPPED_REST_SECONDS = 4.0
# A record's other fields, and the mark of a late one.
_OTHER_BYTES = 600
_PAGE = 200
# With these the API says that the same request will do later; with other 4xx, that it never will.
_PASSING_CODES = frozenset({401, 403, 408, 429})


@asynccontextmanager
async def open_run_log(
    logger: RunLogger, flow_run_id: UUID, spool_path: Path
) -> AsyncGenerator["RunLog", None]:
    """Open a flow run's log; at the end, wait within bounds until the API has all of it.

    Raises:
        OSError: The spool cannot be created.
    """
    spool = LogSpool(spool_path)
    log = RunLog(logger, flow_run_id, spool)
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

    def __init__(self, logger: RunLogger, flow_run_id: UUID, spool: LogSpool) -> None:
        """Start sending in the background.

        Args:
            logger: The flow run's own.
            flow_run_id: Whose log it is in the API.
            spool: Empty.
        """
        self._logger = logger
        self._flow_run_id = flow_run_id
        self._spool = spool
        self._to_api = get_current_settings().logging.to_api
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._last_logged_at = self._away_until = datetime.min.replace(tzinfo=UTC)
        self._maybe_stored = False
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
            elif self._sending.done():
                break
            await asyncio.wait({self._sending}, timeout=left)
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)
        if self.missing_lines:
            self._logger.warning(
                f"Lines of this log that could not be sent to Prefect's API: "
                f"{self.missing_lines:,}. {self.whole_output_at}"
            )

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
        """Send in batches as far apart as Prefect's settings say, until the log is closed."""
        # Prefect's client would send again by itself what the API may have stored.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            async with get_client(httpx_settings={"timeout": _ANSWER_SECONDS}) as client:
                while True:
                    await self._news.wait()
                    self._news.clear()
                    await self._send_all(client)
                    if self._closing.is_set():
                        return
                    await self._pause(self._to_api.batch_interval)

    async def _send_all(self, client: PrefectClient) -> None:
        """Send until nothing waits, however often that fails."""
        failures = 0
        while self._spool.waiting_lines:
            batch = self._spool.first(self._batch_bytes)
            try:
                await self._send(client, batch)
                failures = 0
            except Exception as error:
                if _is_refused(error):
                    self._make_smaller(batch)
                    continue
                # Whatever else it is, the API may not have the records.
                self._away_until = datetime.now(UTC)
                await self._pause(min(0.5 * 2**failures, _LONGEST_PAUSE_SECONDS))
                failures += 1

    async def _send(self, client: PrefectClient, batch: RecordBatch) -> None:
        missing = batch.records
        if self._maybe_stored:
            stored = await self._read_stored(client, batch)
            missing = tuple(record for record in missing if not _is_among(record, stored))
        self._maybe_stored = True
        if missing:
            await client.create_logs([self._to_log(record) for record in missing])
        self._maybe_stored = False
        self._spool.drop(batch)

    async def _read_stored(self, client: PrefectClient, batch: RecordBatch) -> list[Log]:
        """Return what the API has of the time of this batch."""
        begin, end = batch.records[0].logged_at, batch.records[-1].logged_at
        wanted = LogFilter.model_validate(
            {
                "flow_run_id": {"any_": [self._flow_run_id]},
                "timestamp": {"after_": begin, "before_": end},
            }
        )
        found: list[Log] = []
        while True:
            page = await client.read_logs(wanted, limit=_PAGE, offset=len(found))
            found += page
            if len(page) < _PAGE:
                return found

    def _make_smaller(self, batch: RecordBatch) -> None:
        """Send less at once after a refusal; give up what is refused by itself."""
        self._maybe_stored = False
        if len(batch.records) > 1:
            self._batch_bytes //= 2
            return
        self._refused_lines += sum(record.lines for record in batch.records)
        self._spool.drop(batch)
        self._batch_bytes = _BATCH_BYTES

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
            await asyncio.sleep(min(seconds, _LONGEST_PAUSE_AT_END_SECONDS))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


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


def _is_refused(error: Exception) -> bool:
    if not isinstance(error, PrefectHTTPStatusError):
        return False
    code = error.response.status_code
    return 400 <= code < 500 and code not in _PASSING_CODES
