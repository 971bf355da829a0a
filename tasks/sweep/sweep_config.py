"""`SweepConfig`: the one parameter of `sweep_orphans`."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tasks.agent_job.run_request import BlockName
from tasks.claude_code.agent_spec import SpecModel

NamespaceName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)
]


class SweepPolicy(SpecModel):
    """What to do about each finding; `report` leaves it to a person."""

    orphaned: Literal["report", "stop", "adopt"] = Field(
        default="report",
        description="A working agent whose flow run has ended. `adopt` starts its deployment "
        "again, at most once, so that the new run takes over the agent.",
    )
    run_missing: Literal["report", "stop"] = Field(
        default="report",
        description="A working agent whose flow run was deleted from Prefect, or that names none.",
    )
    cancelled: Literal["report", "stop"] = Field(
        default="stop", description="A working agent whose flow run was cancelled."
    )
    unstarted: Literal["report", "delete"] = Field(
        default="delete",
        description="A Job that never got its prompt and whose flow run will not continue.",
    )
    ttl_passed: Literal["report", "delete"] = Field(
        default="delete",
        description="A Job that still exists after its TTL. If another container keeps it from "
        "finishing, its TTL counts from the end of its agent.",
    )
    unpaired: Literal["report", "delete"] = Field(
        default="delete", description="A Secret of a run whose Job is gone."
    )
    idle: Literal["report", "delete"] = Field(
        default="delete", description="A Lease that has not been renewed for days."
    )
    cancel_stuck: Literal["report", "mark_cancelled"] = Field(
        default="mark_cancelled",
        description="A flow run in state Cancelling whose process no longer exists.",
    )
    zombie: Literal["report", "mark_crashed"] = Field(
        default="report",
        description="A flow run in state Running with neither Lease nor heartbeat.",
    )


class SweepConfig(SpecModel):
    """Which namespaces a sweep checks, and what it may change."""

    runtime: BlockName | None = Field(
        default=None,
        description="Claude Code Agent Runtime block that names the cluster. If empty: the service "
        "account of the sweep's pod, else the kubeconfig.",
    )
    namespaces: tuple[NamespaceName, ...] = Field(
        default=(),
        max_length=100,
        description="Namespaces to sweep. If empty: the runtime's, else that of the sweep's pod.",
    )
    policy: SweepPolicy = Field(default=SweepPolicy(), description="What to do about findings.")
    dry_run: bool = Field(default=True, description="Report what would be done; change nothing.")
    minimum_age_seconds: int = Field(
        default=900,
        ge=0,
        le=604_800,
        description="Seconds that must have passed since an object, or its agent's Lease, was last "
        "changed before the sweep acts on it.",
    )
    idle_lease_days: int = Field(
        default=7, ge=1, le=365, description="Days without renewal after which a Lease is idle."
    )
    max_actions: int = Field(
        default=20, ge=0, le=1000, description="Maximum number of changes per sweep."
    )
