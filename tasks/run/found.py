"""What the guard found, as the stages after it need it."""

from dataclasses import dataclass

from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.guard_verdicts import Harvest, Reattach


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """Nothing of the agent is alive: a Job is to be created.

    Attributes:
        number: Of the attempt within its flow run, from 1; no Job has it so far.
        exec_permitted: Whether the copy of the agent's output in its pod can be read.
    """

    number: int
    exec_permitted: bool


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The run has succeeded before; its result was read back, and nothing is to be started."""

    result: AgentRunResult


Found = NewAttempt | Reattach | Harvest | StoredAnswer
