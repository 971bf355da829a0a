"""Where an agent's work is pushed to: `Publish` in a runtime, and the plan that a Job carries.

The plan stands on the Job, so that whichever run concludes it publishes what the Job was made for,
to the branch that was chosen then. It holds no credential.
"""

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from tasks.claude_code.agent_spec import CONTROLS, AgentSpec, ObjectName, SpecModel
from tasks.vocabulary.branch_names import (
    DEFAULT_BRANCH,
    branch_problem,
    is_branch_name,
    make_branch,
)
from tasks.vocabulary.git_remotes import Forge

BlockReference = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=255)]
ApiUrl = Annotated[
    str, StringConstraints(pattern=rf"^https?://[^\s{CONTROLS}@?#]+$", max_length=1024)
]

# An annotation may hold 256 KiB with all others.
_PLAN_CHARACTERS = 8192


class Publish(SpecModel):
    """How the work of agents is pushed, and made a pull request.

    The flow does both. Its credentials never enter the agent's pod.
    """

    credentials_secret: ObjectName | None = Field(
        default=None,
        description="Kubernetes Secret in the agents' namespace that only the flow reads: of type "
        "kubernetes.io/basic-auth, or kubernetes.io/ssh-auth with an additional key known_hosts. "
        "Its key `token` is for pull requests; if there is none, what Git gets is.",
    )
    credentials_block: BlockReference | None = Field(
        default=None,
        description="Prefect Secret block with a token, instead of a Kubernetes Secret.",
    )
    branch: str = Field(
        default=DEFAULT_BRANCH,
        max_length=200,
        description="Branch to push to. {{ tenant.id }}, {{ agent.id }}, {{ task.id }} (the run's "
        "id if it has no task) and {{ run.id }} each stand alone between two slashes.",
    )
    target_branch: str | None = Field(
        default=None,
        max_length=255,
        description="Branch that pull requests are for. If empty: the branch of `repo_ref`, else "
        "the repository's default branch.",
    )
    title: str | None = Field(
        default=None,
        max_length=1000,
        description="Title of pull requests. {{ dotted.names }} refer to agent, tenant, run, task "
        "and work.",
    )
    body: str | None = Field(
        default=None,
        max_length=20_000,
        description="Text of pull requests, with the same names; {{ run.link }} leads to the "
        "report, {{ answer }} is what the agent answered, as a block of code.",
    )
    forge: Forge | None = Field(
        default=None,
        description="What serves the repository, if its host's name does not tell: `github` (also "
        "Enterprise) or `gitlab`.",
    )
    api_url: ApiUrl | None = Field(
        default=None,
        description="Address of its API, such as https://git.example/api/v4, if that is not at the "
        "root of the repository's host.",
    )

    @model_validator(mode="after")
    def _check_publish(self) -> Self:
        if (self.credentials_secret is None) == (self.credentials_block is None):
            raise ValueError("set either credentials_secret or credentials_block")
        if problem := branch_problem(self.branch):
            raise ValueError(f"branch: the template {problem}")
        if self.target_branch is not None and not is_branch_name(self.target_branch):
            raise ValueError("target_branch: not a valid name of a branch")
        if self.api_url is not None and self.forge is None:
            raise ValueError("api_url: set forge too, which tells whose API it is")
        return self


class PublishPlan(BaseModel):
    """What is to become of the work of one Job.

    Attributes:
        remote: Address of the repository, without credentials.
        branch: To push to.
        start_ref: What the agent started from, as the request says; null if it does not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    deliver: Literal["push", "pull_request"]
    remote: str
    branch: str
    start_ref: str | None = None


def plan_publishing(
    agent: AgentSpec,
    publish: Publish | None,
    *,
    run_id: str,
    task_id: str | None,
    repo_url: str | None,
    repo_ref: str | None,
) -> PublishPlan | None:
    """Return the plan of a run; `None` where nothing is to be pushed."""
    if publish is None or repo_url is None or agent.deliver not in {"push", "pull_request"}:
        return None
    branch = make_branch(
        publish.branch,
        agent_id=agent.agent_id,
        run_id=run_id,
        tenant_id=agent.tenant_id,
        task_id=task_id,
    )
    return PublishPlan.model_validate(
        {"deliver": agent.deliver, "remote": repo_url, "branch": branch, "start_ref": repo_ref}
    )


def read_plan(text: str | None) -> PublishPlan | None:
    """Return the plan that a Job's annotation holds; `None` if it holds none that can be used."""
    if text is None or len(text) > _PLAN_CHARACTERS:
        return None
    try:
        plan = PublishPlan.model_validate_json(text)
    except ValidationError:
        return None
    return plan if is_branch_name(plan.branch) else None
