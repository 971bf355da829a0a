from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from tasks.claude_code.agent_spec import AgentFields, AgentSpec


class ClaudeAgent(AgentFields, Block):
    """One Claude Code agent: its model, prompt, permissions and limits.

    It holds no secrets; credentials are references to keys of Kubernetes Secrets.

    Example:
        Load a saved agent:

        ```python
        from blocks.claude_agent import ClaudeAgent

        claude_agent = ClaudeAgent.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str | None] = "Claude Code Agent"
    _block_type_slug: ClassVar[str | None] = "claude-jobs-agent"
    _logo_url: ClassVar[Any] = HttpUrl("https://claude.ai/images/claude_app_icon.png")
    _documentation_url: ClassVar[Any] = HttpUrl("https://code.claude.com/docs/en/headless")

    def spec(self) -> AgentSpec:
        """Return the block's values, validated and frozen."""
        return AgentSpec(**{name: getattr(self, name) for name in AgentSpec.model_fields})
