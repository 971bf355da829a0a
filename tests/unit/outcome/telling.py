"""All that people are told of an outcome, wherever on the run's page it stands."""

from tasks.outcome.verdict import Outcome


def told_of(outcome: Outcome) -> str:
    """The sentence, the rows of the table and what to check first, as one text."""
    rows = [f"{name.lower()} {value}" for name, value in outcome.observed]
    check = [f"first check {outcome.check}."] if outcome.check else []
    return "; ".join([outcome.message, *rows, *check])
