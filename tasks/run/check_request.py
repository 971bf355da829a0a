"""What can be refused before Prefect is imported and answers, which takes seconds.

The run checks all of it again, because not only the command line starts runs.
"""

from importlib.resources import files
from pathlib import Path
from uuid import UUID

from tasks.agent_job.prepared_run import prepare_run
from tasks.agent_job.run_request import AgentRunRequest
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.cluster.cluster_errors import KubeconfigInvalid
from tasks.cluster.connection import ClusterConnection, discover_connection
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import FlowRunId

# Stands in for the flow run that does not exist yet; as long as any other id.
_NO_FLOW_RUN = FlowRunId(str(UUID(int=0)))


def read_run_script() -> str:
    """Return the text of the script that starts the agent in its pod."""
    return files("tasks.transcript").joinpath("run_script.sh").read_text(encoding="utf-8")


def read_keeper_script() -> str:
    """Return the text of the script that keeps an agent's work in its pod."""
    return files("tasks.work").joinpath("keeper.sh").read_text(encoding="utf-8")


def find_cluster(kubeconfig: Path | None) -> ClusterConnection:
    """Return the cluster of a kubeconfig, or the one that is found without one.

    Raises:
        InputInvalid: There is no cluster. The content of `kubeconfig` is not checked here.
    """
    if kubeconfig is not None:
        if not kubeconfig.is_file():
            raise InputInvalid(
                f"The kubeconfig {kubeconfig} does not exist or is not a file; correct the path."
            )
        return ClusterConnection.from_kubeconfig_file(str(kubeconfig))
    try:
        return discover_connection()
    except KubeconfigInvalid as error:
        raise InputInvalid(error.message) from error


def check_request(request: AgentRunRequest, kubeconfig: Path | None) -> None:
    """Refuse what is wrong whatever the request's blocks and Secrets contain.

    Raises:
        InputInvalid: The request cannot be carried out.
    """
    agent, runtime = request.agent, request.runtime
    if kubeconfig is not None or isinstance(runtime, RuntimeSpec):
        find_cluster(kubeconfig)
    is_confidential = request.prompt_secret is not None or request.prompt_block is not None
    if isinstance(agent, AgentSpec) and isinstance(runtime, RuntimeSpec) and not is_confidential:
        prepare_run(
            request,
            agent,
            runtime,
            flow_run_id=_NO_FLOW_RUN,
            run_script=read_run_script(),
            keeper_script=read_keeper_script(),
        )
