"""SIGTERM that lands where asyncio keeps its exception: in another task, or in a callback."""

import signal
import subprocess
import sys
import time

import pytest

# `where` spins, so that the handler's exception is raised there and nowhere else.
_PROGRAM = """
import asyncio, signal, sys, time
from flows.run.run_process import cancelled_by_sigterm

class Told(BaseException):
    "As Prefect's: no SystemExit, which asyncio would let out."

def raise_it(number, frame):
    raise Told

def spin():
    print("ready", flush=True)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        pass

async def step():
    spin()

async def main():
    heard = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.add_signal_handler(signal.SIGUSR1, heard.append, "SIGUSR1")
    signal.signal(signal.SIGTERM, raise_it)
    try:
        with cancelled_by_sigterm():
            if sys.argv[1] == "task":
                background = asyncio.create_task(step())
            else:
                loop.call_soon(spin)
            await asyncio.sleep(20)
    except asyncio.CancelledError:
        print("cancelled", *heard, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["task", "callback"])
def test_sigterm_whose_exception_is_kept_elsewhere_cancels_the_run(where: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, where], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    # Handlers that were added to the event loop are still called.
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)

    output, _ = process.communicate(timeout=15)
    assert output == "cancelled SIGUSR1\n"
