"""`UsageConfig`: the one parameter of `usage_report`."""

from typing import Self

from pydantic import Field, model_validator

from tasks.agent_job.run_request import BlockName, parse_parameter
from tasks.agent_job.runtime_spec import StorageReference
from tasks.claude_code.agent_spec import Identifier, SpecModel


class UsageConfig(SpecModel):
    """Which agents and days a usage report covers."""

    runtime: BlockName | None = Field(
        default=None, description="Claude Code Agent Runtime block whose result storage is read."
    )
    result_storage: StorageReference | None = Field(
        default=None,
        description="Result storage to read instead of a runtime's: an absolute path, or a Prefect "
        "block as block-type/block-name. If both are empty: Prefect's local results.",
    )
    days: int = Field(
        default=7, ge=1, le=366, description="Number of days to report, today included (UTC)."
    )
    agent_ids: tuple[Identifier, ...] = Field(
        default=(), max_length=1000, description="Ids of the agents to report; all if empty."
    )

    @property
    def needs_prefect(self) -> bool:
        """Whether the storage is found through a block."""
        stored_in_block = not (self.result_storage or "/").startswith(("/", "~"))
        return self.runtime is not None or stored_in_block

    @model_validator(mode="after")
    def _check_storage(self) -> Self:
        if self.runtime is not None and self.result_storage is not None:
            raise ValueError("set runtime or result_storage, not both")
        return self


def parse_usage_config(raw: object) -> UsageConfig:
    """Parse the configuration of a usage report.

    Args:
        raw: From a deployment's form, or from the options of `claude-jobs usage`.

    Raises:
        InputInvalid: It is not valid.
    """
    return parse_parameter(UsageConfig, raw, "usage report")
