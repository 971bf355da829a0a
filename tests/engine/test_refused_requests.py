"""Whoever finds what is wrong with a request, the run ends with a code, a report and its result."""

from typing import Any

import pytest

from tests.engine.programs import run_program
from tests.prefect_server import PrefectServer

# The first test waits for the server, and for one process that runs all of them.
pytestmark = pytest.mark.timeout(180)

AGENT = {"agent_id": "ada"}
RUNTIME = {"image": "agent:1"}
REQUEST: dict[str, Any] = {"agent": AGENT, "runtime": RUNTIME, "prompt": "Hello."}
OF_A_BLOCK = {"agent": "grace-block", "runtime": "no-such-runtime", "prompt": "Hello."}

# What a deployment's parameters may be, whatever their schema says: how the sentence names what is
# wrong, and under which agent it is filed.
INVALID: dict[str, tuple[object, str, str]] = {
    "two prompts": (
        {**REQUEST, "prompt_block": "other"},
        "set only one of prompt, prompt_secret and prompt_block",
        "ada",
    ),
    "a prompt in the open and in a Secret": (
        {**REQUEST, "prompt_secret": {"secret": "s", "key": "k"}},
        "set only one of prompt, prompt_secret and prompt_block",
        "ada",
    ),
    "no runtime": ({"agent": AGENT, "prompt": "Hello."}, "runtime", "ada"),
    "no agent": ({"runtime": RUNTIME, "prompt": "Hello."}, "agent", ""),
    "a field of another type": ({**REQUEST, "timeout_seconds": "soon"}, "timeout_seconds", "ada"),
    "a field out of its bounds": ({**REQUEST, "timeout_seconds": -1}, "timeout_seconds", "ada"),
    "a misspelt field": ({**REQUEST, "promt": "Hello."}, "promt", "ada"),
    "a list": ([REQUEST], "request", ""),
    "a text": ("Hello.", "request", ""),
    "nothing": (None, "request", ""),
    "a block that is not there": ({**REQUEST, "agent": "no-such"}, "no-such", "no-such"),
    "an agent of a block, another block missing": (OF_A_BLOCK, "no-such-runtime", "grace-7"),
    "an agent of a block, two prompts": (
        {**OF_A_BLOCK, "prompt_block": "other"},
        "set only one of prompt, prompt_secret and prompt_block",
        "grace-7",
    ),
}

_PROGRAM = """
import asyncio, json, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from blocks.claude_agent import ClaudeAgent
from flows.run_agent import run_agent

async def main():
    await ClaudeAgent(agent_id="grace-7").asave("grace-block", overwrite=True)
    told = {}
    for name, request in json.load(sys.stdin).items():
        state = await run_agent(request, return_state=True)
        result = await state.result(raise_on_failure=False)
        of_run = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
        async with get_client() as client:
            wanted = ArtifactFilter(flow_run_id=of_run)
            found = await client.read_artifacts(artifact_filter=wanted)
            flow_run = await client.read_flow_run(state.state_details.flow_run_id)
        told[name] = {
            "state": [state.type.value, state.name],
            "message": state.message,
            "result": result,
            "called": [flow_run.name, flow_run.tags],
            "reports": [[item.key, str(item.data)] for item in found if item.key],
        }
    print(json.dumps(told))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def told(prefect_server: PrefectServer) -> dict[str, Any]:
    """How each of the runs has ended."""
    requests = {name: request for name, (request, _, _) in INVALID.items()}
    return run_program(_PROGRAM, requests, prefect_server)


@pytest.mark.parametrize("name", INVALID)
def test_invalid_parameters_end_as_invalid_input(name: str, told: dict[str, Any]) -> None:
    ended, (_, named, _) = told[name], INVALID[name]

    assert ended["state"] == ["FAILED", "Invalid input"]
    assert ended["result"]["error_code"] == "input_invalid"
    assert ended["message"] == ended["result"]["message"]
    assert named in ended["message"]


@pytest.mark.parametrize("name", INVALID)
def test_refusal_is_filed_under_the_agents_id(name: str, told: dict[str, Any]) -> None:
    ended, (_, _, agent_id) = told[name], INVALID[name]

    assert ended["result"]["agent_id"] == agent_id
    if agent_id:
        [[key, page]] = ended["reports"]
        assert agent_id in key
        assert "Invalid input" in page
    else:
        # An artifact's key is made of the agent's id.
        assert ended["reports"] == []


@pytest.mark.parametrize("name", INVALID)
def test_refused_run_is_called_after_its_agent(name: str, told: dict[str, Any]) -> None:
    called, (_, _, agent_id) = told[name]["called"], INVALID[name]

    if agent_id:
        assert called == [agent_id, [f"agent:{agent_id}"]]
    else:
        assert "-" in called[0]
        assert called[1] == []
