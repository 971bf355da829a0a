"""What can be refused before Prefect is there, which takes seconds to import and to answer.

The run checks all of it again: it is also started by others than the command line.
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

# Stands in for the flow run that is not there yet; as long as any.
_NO_FLOW_RUN = FlowRunId(str(UUID(int=0)))


def read_run_script() -> str:
    """Return the text of the script that starts the agent in its pod."""
    return files("tasks.transcript").joinpath("run_script.sh").read_text(encoding="utf-8")


def find_cluster(kubeconfig: Path | None) -> ClusterConnection:
    """Return the cluster of a kubeconfig, or the one that is found without.

    Raises:
        InputInvalid: There is none; what the kubeconfig holds is not looked at.
    """
    if kubeconfig is not None:
        if not kubeconfig.is_file():
            raise InputInvalid(
                f"The kubeconfig {kubeconfig} is not there or no file; correct the path."
            )
        return ClusterConnection.from_kubeconfig_file(str(kubeconfig))
    try:
        return discover_connection()
    except KubeconfigInvalid as error:
        raise InputInvalid(error.message) from error


def check_request(request: AgentRunRequest, kubeconfig: Path | None) -> None:
    """Refuse what is wrong whatever the blocks and Secrets hold that the request names.

    Raises:
        InputInvalid: The request cannot be carried out.
    """
    agent, runtime = request.agent, request.runtime
    if kubeconfig is not None or isinstance(runtime, RuntimeSpec):
        find_cluster(kubeconfig)
    is_confidential = request.prompt_secret is not None or request.prompt_block is not None
    if isinstance(agent, AgentSpec) and isinstance(runtime, RuntimeSpec) and not is_confidential:
        prepare_run(request, agent, runtime, flow_run_id=_NO_FLOW_RUN, run_script=read_run_script())
