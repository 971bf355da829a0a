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
        description="How the cluster is reached; where empty the pod's own service account, else "
        "the kubeconfig. Tokens in a kubeconfig that is stored here are readable in Prefect.",
    )

    def cluster_config(self) -> tuple[dict[str, Any], str | None] | None:
        """Return the kubeconfig that the credentials hold and its context, or `None`.

        `None` without credentials, and with credentials that leave it to the pod or the machine.
        """
        if self.credentials is None or self.credentials.cluster_config is None:
            return None
        cluster = self.credentials.cluster_config.model_dump()
        return cluster["config"], cluster["context_name"]

    def spec(self) -> RuntimeSpec:
        """Return the block's values without the way to the cluster, checked and frozen."""
        return RuntimeSpec(**{name: getattr(self, name) for name in RuntimeSpec.model_fields})
