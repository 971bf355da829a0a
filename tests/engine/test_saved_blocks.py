import pytest
from prefect.client.orchestration import get_client
from prefect_kubernetes.credentials import (  # pyright: ignore[reportMissingTypeStubs] # it has annotations, but no py.typed
    KubernetesClusterConfig,
    KubernetesCredentials,
)

from blocks.agent_runtime import AgentRuntime
from blocks.claude_agent import ClaudeAgent
from tasks.agent_job.pod_settings import EnvFromKey, Resources, Toleration
from tasks.agent_job.runtime_spec import Limits, WholeRunRetry
from tasks.claude_code.agent_spec import Callback, Credential, Skill, WorkCheck
from tasks.vocabulary.error_codes import ErrorCode

# The first test waits for the server.
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("block_server")]

AGENT = ClaudeAgent(
    agent_id="a-1",
    name="Ada",
    max_budget_usd=2.5,
    extra_args=("--fallback-model", "sonnet"),
    skills=(Skill(name="review", files={"SKILL.md": "Look."}),),
    mcp_servers={"m": {"command": "x", "args": ["1"]}},
    credentials=(Credential(env="ANTHROPIC_API_KEY", secret="claude", key="api-key"),),
    callback=Callback(api_url="https://api.example", secret="callback", key="token"),
    check=WorkCheck(command="npm test", timeout_seconds=90, env={"CI": "1"}),
    deliver="collect",
    expect_changes=True,
)
RUNTIME = AgentRuntime(
    image="agent:1",
    labels={"team": "x"},
    tolerations=(Toleration(operator="Exists"),),
    env_from_keys=(EnvFromKey(env="A", kind="secret", name="s", key="k"),),
    resources=Resources(work_limit="1Gi"),
    limits=Limits(timeout_ceiling_seconds=3600),
    retry=WholeRunRetry(codes=(ErrorCode.CLAUDE_RATE_LIMITED,)),
    credentials=KubernetesCredentials(
        cluster_config=KubernetesClusterConfig(config={"clusters": []}, context_name="kit")
    ),
)


async def test_agent_is_the_same_after_it_was_saved() -> None:
    await AGENT.asave("ada")

    loaded = await ClaudeAgent.aload("ada")

    assert loaded.spec() == AGENT.spec()


async def test_runtime_is_the_same_after_it_was_saved() -> None:
    await RUNTIME.asave("kit")

    loaded = await AgentRuntime.aload("kit")

    assert loaded.spec() == RUNTIME.spec()
    assert loaded.cluster_config() == ({"clusters": []}, "kit")


async def test_forms_know_bounds_units_and_choices() -> None:
    await AgentRuntime.aregister_type_and_schema()

    async with get_client() as client:
        block_type = await client.read_block_type_by_slug("claude-jobs-agent-runtime")
        schema = await client.get_most_recent_block_schema_for_block_type(block_type.id)

    assert schema is not None
    limits = schema.fields["definitions"]["Limits"]["properties"]
    assert limits["timeout_ceiling_seconds"]["maximum"] == 30 * 86_400
    assert "seconds" in limits["scheduling_seconds"]["description"].lower()
    assert schema.fields["required"] == ["image"]
