"""What a sweep is asked to do: `SweepConfig`, the one parameter of `sweep_orphans`."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tasks.agent_job.run_request import BlockName
from tasks.claude_code.agent_spec import SpecModel

NamespaceName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)
]


class SweepPolicy(SpecModel):
    """What is done with each finding; `report` leaves it to a person."""

    orphaned: Literal["report", "stop", "adopt"] = Field(
        default="report",
        description="An agent at work whose flow run is over. `adopt` starts that run's deployment "
        "again, at most once, so that the new run takes the agent over.",
    )
    run_missing: Literal["report", "stop"] = Field(
        default="report",
        description="An agent at work whose flow run was deleted from Prefect, or that names none.",
    )
    cancelled: Literal["report", "stop"] = Field(
        default="stop", description="An agent at work whose flow run was cancelled."
    )
    unstarted: Literal["report", "delete"] = Field(
        default="delete",
        description="A Job that never got its prompt, of a flow run that will not go on.",
    )
    ttl_passed: Literal["report", "delete"] = Field(
        default="delete", description="An ended Job that outlived its TTL."
    )
    unpaired: Literal["report", "delete"] = Field(
        default="delete", description="A run's Secret whose Job is gone."
    )
    idle: Literal["report", "delete"] = Field(
        default="delete", description="A Lease that nobody has touched for days."
    )
    cancel_stuck: Literal["report", "mark_cancelled"] = Field(
        default="mark_cancelled",
        description="A flow run that is being cancelled and whose process is gone.",
    )
    zombie: Literal["report", "mark_crashed"] = Field(
        default="report",
        description="A flow run that is running by its state, without Lease or heartbeat.",
    )


class SweepConfig(SpecModel):
    """Where a sweep looks, and what it may do."""

    runtime: BlockName | None = Field(
        default=None,
        description="Agent Runtime block that names the cluster; where empty the pod's own "
        "service account, else the kubeconfig.",
    )
    namespaces: tuple[NamespaceName, ...] = Field(
        default=(),
        max_length=100,
        description="Where to look; where empty the runtime's namespace, else the pod's own.",
    )
    policy: SweepPolicy = Field(default=SweepPolicy(), description="What is done with findings.")
    dry_run: bool = Field(default=True, description="Say what would be done, and change nothing.")
    minimum_age_seconds: int = Field(
        default=900,
        ge=0,
        le=604_800,
        description="How long an object and its agent's Lease must have been left alone before "
        "anything is done, in seconds.",
    )
    idle_lease_days: int = Field(
        default=7, ge=1, le=365, description="After how many days a Lease counts as idle."
    )
    max_actions: int = Field(
        default=20, ge=0, le=1000, description="How much one sweep may change; the rest waits."
    )
