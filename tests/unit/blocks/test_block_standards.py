from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from prefect_kubernetes.credentials import (  # pyright: ignore[reportMissingTypeStubs] # it has annotations, but no py.typed
    KubernetesClusterConfig,
    KubernetesCredentials,
)
from pydantic import ValidationError

from blocks.agent_runtime import AgentRuntime
from blocks.claude_agent import ClaudeAgent
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec


class TestBlockStandards(BlockStandardTestSuite):
    @pytest.fixture(params=[ClaudeAgent, AgentRuntime])
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        return request.param

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """Prefect's own test fetches the picture, where Pillow is; these tests need no network."""
        logo: Any = getattr(block, "_logo_url")  # noqa: B009 # Prefect's name for it
        assert str(logo).startswith("https://")
        assert str(logo).endswith(".png")


def test_agent_block_hands_its_values_on_as_a_spec() -> None:
    fields: dict[str, Any] = {"agent_id": "a-1", "max_turns": 5, "env": {"A": "1"}}

    assert ClaudeAgent(**fields).spec() == AgentSpec(**fields)


def test_runtime_block_hands_its_values_on_as_a_spec() -> None:
    fields: dict[str, Any] = {"image": "agent:1", "limits": {"start_seconds": 5}}

    assert AgentRuntime(**fields).spec() == RuntimeSpec(**fields)


@pytest.mark.parametrize(("block", "spec"), [(ClaudeAgent, AgentSpec), (AgentRuntime, RuntimeSpec)])
def test_blocks_have_every_field_of_their_spec(
    block: type[Block], spec: type[AgentSpec | RuntimeSpec]
) -> None:
    assert set(spec.model_fields) - set(block.model_fields) == set()


def test_blocks_check_what_is_saved() -> None:
    with pytest.raises(ValidationError, match="--print is refused"):
        ClaudeAgent(agent_id="a-1", extra_args=("--print",))


def test_block_slugs_are_nobody_elses() -> None:
    slugs = [block.get_block_type_slug() for block in (ClaudeAgent, AgentRuntime)]

    assert slugs == ["claude-jobs-agent", "claude-jobs-agent-runtime"]


def test_agent_block_has_no_secret_field() -> None:
    assert "password" not in repr(ClaudeAgent.model_json_schema())


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        pytest.param(None, None, id="no_credentials"),
        pytest.param(KubernetesCredentials(), None, id="in_the_cluster"),
        pytest.param(
            KubernetesCredentials(
                cluster_config=KubernetesClusterConfig(config={"a": 1}, context_name="kit")
            ),
            ({"a": 1}, "kit"),
            id="kubeconfig",
        ),
    ],
)
def test_runtime_block_says_how_the_cluster_is_reached(
    credentials: KubernetesCredentials | None, expected: Any
) -> None:
    assert AgentRuntime(image="a", credentials=credentials).cluster_config() == expected
