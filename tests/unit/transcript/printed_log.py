"""What the run script prints for a given stdout, as its written grammar says."""

import hashlib
from collections.abc import Sequence

TOKEN = "0123abcd"


def print_stdout(payloads: Sequence[bytes], final_newline: bool = True) -> bytes:
    """Return the agent's raw stdout."""
    raw = b"".join(payload + b"\n" for payload in payloads)
    return raw if final_newline else raw[:-1]


def print_lines(
    payloads: Sequence[bytes],
    *,
    final_newline: bool = True,
    stderr: Sequence[bytes] = (),
    numbered: bool = True,
    sha256: str | None = None,
    check: Sequence[bytes] | None = None,
) -> list[bytes]:
    """Return the script's whole log as lines without LF: header, stdout, stderr, check, trailer."""
    raw = print_stdout(payloads, final_newline)
    header = f"{TOKEN} h 1 pod_uid=u numbered={int(numbered)} started=1700000000".encode()
    stdout = [
        number_line(number, payload) if numbered else payload
        for number, payload in enumerate(payloads, start=1)
    ]
    kept = [number_line(n, line, kind="e") for n, line in enumerate(stderr, start=1)]
    trailer = (
        f"{TOKEN} t 1 lines={len(payloads)} bytes={len(raw)} "
        f"sha256={sha256 or hashlib.sha256(raw).hexdigest()} exit=0 timed_out=0 last_result=0 "
        f"copied={len(payloads) * numbered} stderr_lines={len(kept)} stderr_skipped=0 refused=-"
    )
    if check is None:
        return [header, *stdout, *kept, trailer.encode()]
    begun = f"{TOKEN} b 1 exit=0 after_result=0 timeout=600 started=1700000000".encode()
    of_check = [number_line(n, line, kind="c") for n, line in enumerate(check, start=1)]
    trailer += (
        f" check=1 check_timed_out=0 check_seconds=2 check_lines={len(check)} check_skipped=0"
    )
    return [header, *stdout, *kept, begun, *of_check, trailer.encode()]


def number_line(number: int, payload: bytes, kind: str = "o") -> bytes:
    return f"{TOKEN} {kind} {number} {len(payload)} ".encode() + payload
