"""What a usage report is asked for: `UsageConfig`, the one parameter of `usage_report`."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from tasks.agent_job.run_request import BlockName, describe_validation_error
from tasks.claude_code.agent_spec import Identifier, SpecModel
from tasks.vocabulary.errors import InputInvalid


class UsageConfig(SpecModel):
    """Whose usage is reported, and of which days."""

    runtime: BlockName | None = Field(
        default=None, description="Agent Runtime block whose result storage is read."
    )
    result_storage: str | None = Field(
        default=None,
        description="Result storage to read instead: an absolute path, or a file-system block as "
        "`block-type/block-name`; Prefect's own local results where neither is given.",
    )
    days: int = Field(
        default=7, ge=1, le=366, description="How many days, the last one being today (UTC)."
    )
    agent_ids: tuple[Identifier, ...] = Field(
        default=(), max_length=1000, description="Exact ids of agents; all of them where empty."
    )

    @model_validator(mode="after")
    def _check_storage(self) -> Self:
        if self.runtime is not None and self.result_storage is not None:
            raise ValueError("runtime and result_storage exclude each other")
        return self


def parse_usage_config(raw: Mapping[str, Any]) -> UsageConfig:
    """Return what a report is asked for.

    Raises:
        InputInvalid: A value is out of its bounds.
    """
    try:
        return UsageConfig.model_validate(raw)
    except ValidationError as error:
        raise InputInvalid(describe_validation_error("usage report", error)) from None
