"""Parameters of the flows beside a run that are not valid end with a sentence of ours."""

from typing import Any

import pytest

from tests.engine.programs import run_program
from tests.prefect_server import PrefectServer

# The first test waits for the server, and for one process that runs all of them.
pytestmark = pytest.mark.timeout(180)

REQUEST: dict[str, Any] = {
    "agent": {"agent_id": "ada"},
    "runtime": {"image": "agent:1"},
    "prompt": "Hello.",
}
TWO_PROMPTS = {**REQUEST, "prompt_block": "other"}

INVALID: dict[str, tuple[object, str]] = {
    "run_fleet": (
        {"requests": [REQUEST, TWO_PROMPTS]},
        "The fleet request is not valid: "
        "requests.1: set only one of prompt, prompt_secret and prompt_block.",
    ),
    "usage_report": (
        {"runtime": "kit", "result_storage": "/results"},
        "set runtime or result_storage, not both",
    ),
    "preflight": (
        {"request": TWO_PROMPTS},
        "request: set only one of prompt, prompt_secret and prompt_block",
    ),
    "sweep_orphans": ({"dry_run": "perhaps"}, "dry_run"),
}

_PROGRAM = """
import asyncio, importlib, json, sys

async def main():
    told = {}
    for name, parameter in json.load(sys.stdin).items():
        flow = getattr(importlib.import_module(f"flows.{name}"), name)
        state = await flow(parameter, return_state=True)
        told[name] = [state.type.value, state.name, state.message]
    print(json.dumps(told))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def told(prefect_server: PrefectServer) -> dict[str, list[str]]:
    """How each of the runs has ended: type, name and message of its state."""
    parameters = {name: parameter for name, (parameter, _) in INVALID.items()}
    return run_program(_PROGRAM, parameters, prefect_server)


@pytest.mark.parametrize("name", INVALID)
def test_invalid_parameters_end_as_invalid_input(name: str, told: dict[str, list[str]]) -> None:
    state_type, state_name, message = told[name]

    assert (state_type, state_name) == ("FAILED", "Invalid input")
    assert INVALID[name][1] in message
