from typing import Any, ClassVar

from prefect.blocks.core import Block
from prefect_kubernetes.credentials import (  # pyright: ignore[reportMissingTypeStubs] # it has annotations, but no py.typed
    KubernetesCredentials,
)
from pydantic import Field, HttpUrl

from tasks.agent_job.runtime_spec import RuntimeFields, RuntimeSpec


class AgentRuntime(RuntimeFields, Block):
    """Where and how the Jobs of agents run.

    Example:
        Load a saved runtime:

        ```python
        from blocks.agent_runtime import AgentRuntime

        agent_runtime = AgentRuntime.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str | None] = "Claude Code Agent Runtime"
    _block_type_slug: ClassVar[str | None] = "claude-jobs-agent-runtime"
    _logo_url: ClassVar[Any] = HttpUrl(
        "https://raw.githubusercontent.com/PrefectHQ/prefect/"
        "420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos/kubernetes.png"
    )
    _documentation_url: ClassVar[Any] = HttpUrl(
        "https://kubernetes.io/docs/concepts/workloads/controllers/job/"
    )

    credentials: KubernetesCredentials | None = Field(
        default=None,
        description="Credentials for the cluster. If empty: the service account of the flow run's "
        "pod, else the kubeconfig. A kubeconfig stored here, with its tokens, is readable in "
        "Prefect.",
    )

    def cluster_config(self) -> tuple[dict[str, Any], str | None] | None:
        """Return the kubeconfig in the credentials and its context, or `None`.

        `None` if there are no credentials, or if they hold no kubeconfig.
        """
        if self.credentials is None or self.credentials.cluster_config is None:
            return None
        cluster = self.credentials.cluster_config.model_dump()
        return cluster["config"], cluster["context_name"]

    def spec(self) -> RuntimeSpec:
        """Return the block's values without the cluster credentials, validated and frozen."""
        return RuntimeSpec(**{name: getattr(self, name) for name in RuntimeSpec.model_fields})
