from typing import Any

import pytest

from tasks.agent_job.environment import mounted_secrets, secret_references
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec

CREDENTIAL = {"env": "ANTHROPIC_API_KEY", "secret": "model", "key": "api-key"}
CALLBACK = {"api_url": "https://api.example", "secret": "model", "key": "callback"}
GIT_TOKEN = {"env": "GIT_TOKEN", "kind": "secret", "name": "git", "key": "token"}
REGION = {"env": "REGION", "kind": "config_map", "name": "places", "key": "region"}


@pytest.mark.parametrize(
    ("agent", "runtime", "expected"),
    [
        ({}, {}, {}),
        ({"credentials": [CREDENTIAL]}, {}, {"model": {"api-key"}}),
        (
            {"credentials": [CREDENTIAL], "callback": CALLBACK},
            {"env_from_keys": [GIT_TOKEN, REGION]},
            {"model": {"api-key", "callback"}, "git": {"token"}},
        ),
    ],
    ids=["nothing", "credential", "all-kinds-and-one-secret-twice"],
)
def test_keys_of_secrets_in_the_env_are_named_by_their_secret(
    agent: dict[str, Any], runtime: dict[str, Any], expected: dict[str, set[str]]
) -> None:
    found = secret_references(
        AgentSpec.model_validate({"agent_id": "ada", **agent}),
        RuntimeSpec.model_validate({"image": "agent:1", **runtime}),
    )

    assert found == expected


def test_secret_that_is_mounted_twice_is_named_once_and_config_maps_are_not() -> None:
    mounts = [
        {"kind": "secret", "name": "keys", "path": "/keys"},
        {"kind": "config_map", "name": "places", "path": "/places"},
        {"kind": "secret", "name": "keys", "path": "/keys-again"},
    ]

    runtime = RuntimeSpec.model_validate({"image": "agent:1", "mounts": mounts})

    assert mounted_secrets(runtime) == ("keys",)
