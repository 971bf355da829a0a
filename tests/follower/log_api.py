"""One pod behind a small HTTP server: its log as a kubelet serves it, its copy by exec, and faults.

The log holds what was printed since the last rotation. A follow ends at a rotation, without error,
as a real kubelet's does; lines rotated away can be had from the copy only.
"""

import asyncio
import bisect
import hashlib
import json
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from tasks.transcript.read_steps import PodView
from tests.scripted_api import ScriptedApi, reset, serve, status

TOKEN = "0badcafe"
WORK_DIR = "/var/run/claude-jobs/work"


@dataclass
class Faults:
    """What goes wrong, decided by a seed; after `left` faults nothing does any more."""

    rng: random.Random = field(default_factory=random.Random)
    left: int = 0
    refusals: bool = True
    cuts: bool = True
    hangs: bool = False
    mean_cut_bytes: int = 50_000

    def answer(self) -> Callable[[web.Request], web.StreamResponse] | None:
        """Return what to answer instead of the log, if anything."""
        if not self.refusals or not self._happens(0.4):
            return None
        return self.rng.choice(
            [
                lambda _: status(500, "InternalError"),
                lambda _: status(429, "TooManyRequests"),
                lambda _: status(404, "NotFound"),
                lambda _: status(400, "BadRequest", message="container is ContainerCreating"),
                lambda _: status(503, "ServiceUnavailable"),
                _cut_off,
            ]
        )

    def cut_after(self) -> int | None:
        """Return after how many bytes the stream is cut, if it is."""
        if not self.cuts or not self._happens(0.6):
            return None
        return int(self.rng.expovariate(1 / self.mean_cut_bytes))

    def hangs_now(self) -> bool:
        """Tell whether the stream, instead of being cut, says nothing more."""
        return self.hangs and self.rng.random() < 0.5

    def _happens(self, probability: float) -> bool:
        if self.left <= 0 or self.rng.random() >= probability:
            return False
        self.left -= 1
        return True


def _cut_off(request: web.Request) -> web.StreamResponse:
    reset(request)
    return web.Response()


class Pod:
    """The pod: print into it, rotate its log, end it; `view` is how an observer sees it."""

    def __init__(self, *, clock: Callable[[], float], numbered: bool = True) -> None:
        self.clock = clock
        self.numbered = numbered
        self.stdout = bytearray()
        self.copy: list[bytes] = []
        self.copy_behind: list[bytes] = []
        self.copy_limit: int | None = None
        self.log: list[bytes] = []
        self.printed_at: list[float] = []
        self.rotations = 0
        self.started = False
        self.ended = False
        self.gone = False
        self.termination_text = ""
        self.tells_termination = False
        self.acknowledged = asyncio.Event()
        self.exec_status: int | None = None
        self.log_answer: Callable[[], web.Response] | None = None
        self.held = asyncio.Event()
        self.hangs_at_rotation = False
        self.hangs_at_end = False
        self.lacks_last_newline = False
        self.sent_bytes = 0
        self.requests: list[str] = []
        self._news = asyncio.Event()

    @property
    def view(self) -> PodView:
        return PodView(
            container_started=self.started,
            container_ended=self.ended,
            pod_gone=self.gone,
            termination_message=self.termination_text if self.tells_termination else None,
        )

    def start(self) -> None:
        self.started = True
        self._log(f"{TOKEN} h 1 pod_uid=u numbered={int(self.numbered)} started=1".encode())

    def print(self, payload: bytes, newline: bytes = b"\n", *, damaged: bool = False) -> None:
        self.stdout += payload + newline
        number = len(self.copy) + 1
        line = b"%s o %d %d %s" % (TOKEN.encode(), number, len(payload), payload)
        self.copy.append(line)
        self._log((line if self.numbered else payload)[: -1 if damaged else None])

    def print_foreign(self, line: bytes) -> None:
        self._log(line)

    def print_end(
        self, stderr: tuple[bytes, ...] = (), exit_code: int = 0, hashed: bool = True
    ) -> None:
        for number, line in enumerate(stderr, 1):
            self._log(b"%s e %d %d %s" % (TOKEN.encode(), number, len(line), line))
        digest = hashlib.sha256(self.stdout).hexdigest() if hashed else "-"
        self.termination_text = (
            f"t 1 lines={len(self.copy)} bytes={len(self.stdout)} sha256={digest} exit={exit_code} "
            f"timed_out=0 last_result=0 copied={len(self.copy)} stderr_lines={len(stderr)} "
            "stderr_skipped=0 refused=-"
        )
        self._log(f"{TOKEN} {self.termination_text}".encode())

    def print_check_begun(self) -> None:
        line = f"{TOKEN} b 1 exit=0 after_result=0 timeout=600 started=1".encode()
        self.copy_behind = [line]
        self._log(line)

    def rotate(self) -> None:
        self.log, self.printed_at = [], []
        self.rotations += 1
        self._tell()

    def end(self) -> None:
        self.ended = True
        self._tell()

    def remove(self) -> None:
        self.ended = self.gone = True
        self._tell()

    async def changed(self) -> None:
        await self._news.wait()

    def lines_since(self, since_seconds: float | None) -> list[bytes]:
        if since_seconds is None:
            return self.log
        first = bisect.bisect_left(self.printed_at, self.clock() - since_seconds)
        return self.log[first:]

    def _log(self, line: bytes) -> None:
        self.log.append(line)
        self.printed_at.append(self.clock())
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@asynccontextmanager
async def serve_pod(pod: Pod, faults: Faults | None = None) -> AsyncGenerator[ScriptedApi, None]:
    """Serve the pod's log and exec endpoints; everything else is unknown."""
    troubles = faults or Faults()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/exec"):
            pod.requests.append("exec")
            return await _exec(pod, request)
        follow = "follow" in request.query
        since = request.query.get("sinceSeconds")
        skipped = troubles.answer()
        if skipped is not None:
            return skipped(request)
        pod.requests.append(f"{'follow' if follow else 'read'} {since or 'all'}")
        if pod.log_answer is not None:
            return pod.log_answer()
        if pod.gone:
            return status(404, "NotFound", details={"kind": "pods", "name": "p"})
        if not pod.started:
            return status(400, "BadRequest", message="ContainerCreating")
        try:
            return await _stream_log(pod, troubles, request, follow, float(since or 0) or None)
        except ConnectionResetError:  # the follower has left
            return web.Response()

    async with serve(answer) as api:
        yield api


async def _stream_log(
    pod: Pod, faults: Faults, request: web.Request, follow: bool, since: float | None
) -> web.StreamResponse:
    response = web.StreamResponse()
    left = faults.cut_after()
    rotations = pod.rotations
    sent = len(pod.log) - len(pod.lines_since(since))
    await response.prepare(request)
    while pod.rotations == rotations:
        data = b"".join(line + b"\n" for line in pod.log[sent:])
        sent = len(pod.log)
        if pod.lacks_last_newline:
            data = data.removesuffix(b"\n")
        if left is not None and len(data) >= left:
            await response.write(data[:left])
            if faults.hangs_now():
                await asyncio.Event().wait()
            # What was written is still to reach the other side.
            await asyncio.sleep(0.01)
            reset(request)
            return response
        left = None if left is None else left - len(data)
        for start in range(0, len(data), 65_536):
            await response.write(data[start : start + 65_536])
            pod.sent_bytes += len(data[start : start + 65_536])
        if not follow:
            return response
        if sent == len(pod.log) and pod.rotations == rotations:
            if pod.ended:
                break
            await pod.changed()
    if follow and (pod.hangs_at_end if pod.rotations == rotations else pod.hangs_at_rotation):
        await asyncio.Event().wait()
    return response


async def _exec(pod: Pod, request: web.Request) -> web.StreamResponse:
    if pod.exec_status is not None:
        return status(pod.exec_status)
    if pod.ended or not pod.started:
        return status(500, "InternalError")
    socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
    await socket.prepare(request)
    command = request.query.getall("command")
    if "tail" in command[2]:
        assert command[4] == f"{WORK_DIR}/transcript"
        assert command[6] in {"", f"{WORK_DIR}/hold"}
        if command[6]:
            pod.held.set()
        copy = [*pod.copy[: pod.copy_limit], *pod.copy_behind]
        data = b"".join(line + b"\n" for line in copy[int(command[5]) - 1 :])
        data += b"\n" + pod.termination_text.encode() + b"\n"
        for start in range(0, len(data), 32_768):
            await socket.send_bytes(b"\x01" + data[start : start + 32_768])
    else:
        assert command[4] == f"{WORK_DIR}/ack"
        pod.acknowledged.set()
    await socket.send_bytes(b"\x03" + json.dumps({"status": "Success"}).encode())
    # Closed by the other side, so that nothing on its way is lost.
    while (await socket.receive()).type is WSMsgType.BINARY:
        pass
    return socket
