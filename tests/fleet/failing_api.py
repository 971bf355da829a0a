"""A way to the Prefect server on which some requests fail, as those of a busy server do."""

import asyncio
import re
from collections import Counter

from tests.faults.prefect_gate import PrefectGate, copy_stream


class FailingApi(PrefectGate):
    """Answers the first requests of some kinds with an error, and hands all others on.

    Attributes:
        failed: How many it has refused, by the pattern of their first line.
    """

    def __init__(self, server_url: str, failures: dict[str, tuple[int, ...]]) -> None:
        """Listen.

        Args:
            server_url: `http://host:port/api`.
            failures: By the pattern of a request's first line, the codes that the first requests
                get; 0 lets one through.
        """
        super().__init__(server_url)
        self._failures = {pattern: list(codes) for pattern, codes in failures.items()}
        self.failed: Counter[str] = Counter()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"upgrade: websocket" in head.lower():
                    server.write(head)
                    break
                length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                code = self._next_failure(head.partition(b"\r\n")[0].decode())
                if not code:
                    server.write(head + body)
                else:
                    client.write(b"HTTP/1.1 %d Busy\r\nContent-Length: 2\r\n\r\n{}" % code)
        except asyncio.IncompleteReadError:
            server.write_eof()
            return
        await copy_stream(reader, server)

    def _next_failure(self, first_line: str) -> int:
        for pattern, codes in self._failures.items():
            if codes and re.match(pattern, first_line):
                code = codes.pop(0)
                self.failed[pattern] += bool(code)
                return code
        return 0
