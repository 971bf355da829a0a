"""What another adapter named its objects, and which of our rules names them otherwise."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.vocabulary import names
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId, FlowRunId

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "cases" / "naming.json").read_text()
)

LABEL_RULE = "an altered label value gets a hash suffix"
LENGTH_RULE = "labels have one limit, Kubernetes' own of 63"
NAME_RULE = "a Job's name is the agent's slug and a hash over exact ids and attempt"
PATH_RULE = "transcripts are numbered in the pod and kept in the result storage, by exact ids"

OVERRIDDEN = {
    "colon and slash dropped": LABEL_RULE,
    "blank dropped": LABEL_RULE,
    "mixed punctuation at ends cut": LABEL_RULE,
    "200 letters cut to 63": LABEL_RULE,
    "cut to a given length": LENGTH_RULE,
    "cut landing on a hyphen is trimmed": LABEL_RULE,
    "capitals and symbols in the agent id": NAME_RULE,
    "another run of the same agent": NAME_RULE,
    "UUID ids": NAME_RULE,
    "cut landing on a hyphen": NAME_RULE,
    "agent id that starts with a hyphen": NAME_RULE,
    "QUIRK: id of symbols only leaves empty slugs": NAME_RULE,
    "plain ids": PATH_RULE,
    "manifest cleans @ in agent": PATH_RULE,
    "manifest drops underscore of the run id": PATH_RULE,
}


def by_rule(*rules: str) -> list[Any]:
    return [
        pytest.param(case, id=case["name"])
        for case in CASES
        if OVERRIDDEN.get(case["name"]) in rules
    ]


def our_label(case: dict[str, Any]) -> str | None:
    try:
        return names.label_value(case["input"]["value"])
    except AgentRunError:
        return None


def our_name(case: dict[str, Any], attempt: int = 1) -> str:
    agent = case["input"].get("agent", {}).get("id", "agent-abc")
    run = case["input"].get("runId", "run-abc12345")
    return names.job_name(AgentId(agent), FlowRunId(run), attempt)


def test_overridden_cases_all_exist() -> None:
    assert {case["name"] for case in CASES} >= OVERRIDDEN.keys()


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["name"]) for c in CASES if c["name"] not in OVERRIDDEN]
)
def test_label_of_a_case_that_holds_is_the_same(case: dict[str, Any]) -> None:
    assert case["function"] == "sanitizeLabelValue"
    assert our_label(case) == case["expect"]


@pytest.mark.parametrize("case", by_rule(LABEL_RULE))
def test_altered_label_keeps_the_readable_part_and_gets_a_hash(case: dict[str, Any]) -> None:
    ours = our_label(case)

    assert ours is not None
    assert ours != case["expect"]
    readable = ours[: -len("-0123456789")]
    assert case["expect"].startswith(readable)
    assert len(readable) == min(len(case["expect"]), 63 - len("-0123456789"))


@pytest.mark.parametrize("case", by_rule(LENGTH_RULE))
def test_label_is_not_cut_below_kubernetes_own_limit(case: dict[str, Any]) -> None:
    assert our_label(case) == case["input"]["value"] != case["expect"]


@pytest.mark.parametrize("case", by_rule(NAME_RULE))
def test_job_name_is_ours_and_better(case: dict[str, Any]) -> None:
    ours = our_name(case)
    theirs = case["expect"] if isinstance(case["expect"], str) else case["expect"]["jobName"]

    assert ours != theirs
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", ours)
    assert "--" not in ours
    assert ours != our_name(case, attempt=2)


def test_job_names_of_all_cases_differ() -> None:
    cases = [case for case in CASES if case["function"] == "jobName"]

    assert len({our_name(case) for case in cases}) == len(cases)


@pytest.mark.parametrize("case", by_rule(PATH_RULE))
def test_ids_are_nowhere_part_of_a_path_in_the_pod(case: dict[str, Any]) -> None:
    path = case["expect"] if isinstance(case["expect"], str) else case["expect"]["podLogPath"]

    assert not path.startswith((names.WORK_DIR, names.INPUT_DIR))
