import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.vocabulary import names
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId, FlowRunId, JobName

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")

usable_ids = st.text(max_size=120).filter(lambda text: re.search("[A-Za-z0-9]", text) is not None)
attempts = st.integers(min_value=1, max_value=10_000)


@given(usable_ids, st.text(max_size=80), attempts)
def test_job_name_of_any_ids_is_a_short_dns_label_and_stable(
    agent_id: str, flow_run_id: str, attempt: int
) -> None:
    name = names.job_name(AgentId(agent_id), FlowRunId(flow_run_id), attempt)

    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= 57
    assert re.fullmatch(r"[a-z0-9-]{1,40}-[0-9a-f]{16}", name)
    assert names.job_name(AgentId(agent_id), FlowRunId(flow_run_id), attempt) == name


@given(
    st.lists(st.tuples(usable_ids, st.text(max_size=20), attempts), unique=True, min_size=2),
)
def test_job_names_of_different_attempts_differ(ids: list[tuple[str, str, int]]) -> None:
    found = {names.job_name(AgentId(agent), FlowRunId(run), attempt) for agent, run, attempt in ids}

    assert len(found) == len(ids)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(("a", "b", 1), ("a", "b", 2), id="attempt"),
        pytest.param(("a", "b", 1), ("A", "b", 1), id="case of the agent id"),
        pytest.param(("a", "b", 1), ("a", "B", 1), id="case of the flow run id"),
        pytest.param(("a:b", "c", 1), ("a", "b:c", 1), id="separator inside an id"),
        pytest.param(('a","b', "c", 1), ("a", 'b","c', 1), id="quotes inside an id"),
        pytest.param(("a", "b1", 1), ("a", "b", 11), id="digit moved to the attempt"),
        pytest.param(("x" * 40 + "1", "r", 1), ("x" * 40 + "2", "r", 1), id="beyond the cut"),
    ],
)
def test_job_name_of_near_misses_differs(
    first: tuple[str, str, int], second: tuple[str, str, int]
) -> None:
    one, other = (
        names.job_name(AgentId(agent), FlowRunId(run), attempt)
        for agent, run, attempt in (first, second)
    )

    assert one != other


def test_names_are_what_earlier_versions_would_find_again() -> None:
    agent = AgentId("Reviewer: Müller & Co")
    name = names.job_name(agent, FlowRunId("7f0c2b1e-1111-4222-8333-944455556666"), 2)

    assert name == "reviewer-m-ller-co-a9f1e9aaa7938a6b"
    assert names.lease_name(agent) == "claude-jobs-reviewer-m-ller-co-f101369c9ef04471"
    assert names.label_value(agent) == "ReviewerMllerCo-74ac68e266"
    assert names.line_token(name) == "8cd220b3"


def test_job_name_whose_cut_lands_on_a_hyphen_has_no_double_hyphen() -> None:
    name = names.job_name(AgentId("a" * 39 + "-" + "b" * 9), FlowRunId("r"), 1)

    assert name.startswith("a" * 39 + "-")
    assert "--" not in name


@given(usable_ids)
def test_lease_name_of_any_agent_is_a_dns_label_and_stable(agent_id: str) -> None:
    name = names.lease_name(AgentId(agent_id))

    assert DNS_LABEL.fullmatch(name)
    assert names.lease_name(AgentId(agent_id)) == name
    assert names.lease_name(AgentId(agent_id + "x")) != name


@given(usable_ids)
def test_label_value_of_any_usable_id_is_valid_and_stable(text: str) -> None:
    value = names.label_value(text)

    assert LABEL_VALUE.fullmatch(value)
    assert names.label_value(text) == value


@given(st.from_regex(LABEL_VALUE, fullmatch=True))
def test_label_value_that_is_valid_stays_as_it_is(text: str) -> None:
    assert names.label_value(text) == text


@given(st.lists(usable_ids, unique=True, min_size=2))
def test_label_values_of_different_ids_differ(ids: list[str]) -> None:
    assert len({names.label_value(text) for text in ids}) == len(ids)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("task:xyz/123", "taskxyz123"),
        ("._-a-_.", "a"),
        ("a" * 64, "a" * 52),
        ("a" * 50 + "--" + "b" * 30, "a" * 50),
        ("abc\n", "abc"),
        ("-abc", "abc"),
    ],
)
def test_label_value_that_was_altered_carries_a_hash(text: str, kept: str) -> None:
    value = names.label_value(text)

    assert re.fullmatch(rf"{kept}-[0-9a-f]{{10}}", value)


def test_label_value_of_63_characters_stays_and_of_64_is_cut_to_63() -> None:
    assert names.label_value("a" * 63) == "a" * 63
    assert len(names.label_value("a" * 64)) == 63


def _job_name_for(agent_id: str) -> str:
    return names.job_name(AgentId(agent_id), FlowRunId("run"), 1)


def _lease_name_for(agent_id: str) -> str:
    return names.lease_name(AgentId(agent_id))


@pytest.mark.parametrize(
    "build", [names.parse_agent_id, names.label_value, _lease_name_for, _job_name_for]
)
@pytest.mark.parametrize("text", ["", "   ", "@@@", "._-", "日本語", "\u212a"])
def test_id_without_a_usable_character_is_refused(build: Callable[[str], str], text: str) -> None:
    with pytest.raises(AgentRunError, match="no ASCII letter or digit") as refused:
        build(text)

    assert refused.value.code is ErrorCode.AGENT_ID_INVALID
    assert repr(text) in refused.value.message


@pytest.mark.parametrize("text", ["0", "Z", "日a", " padded "])
def test_agent_id_with_a_usable_character_is_taken_as_it_is(text: str) -> None:
    assert names.parse_agent_id(text) == text


@given(usable_ids)
def test_line_token_is_eight_hexadecimal_digits_of_the_job_name(text: str) -> None:
    name = names.job_name(AgentId(text), FlowRunId("run"), 1)

    assert re.fullmatch("[0-9a-f]{8}", names.line_token(name))
    assert names.line_token(name) == names.line_token(name)
    assert names.line_token(JobName(name + "x")) != names.line_token(name)


def test_selectors_name_our_objects_by_label() -> None:
    agent = AgentId("agent/1")

    assert names.agent_selector(agent) == (
        "app.kubernetes.io/managed-by=claude-jobs,"
        f"claude-jobs.dev/agent-id={names.label_value(agent)}"
    )
    assert names.job_pods_selector(JobName("job-1")) == "batch.kubernetes.io/job-name=job-1"


def test_keys_are_all_below_our_prefix_or_kubernetes_own() -> None:
    keys = {
        value for key, value in vars(names).items() if key.startswith(("LABEL_", "ANNOTATION_"))
    }

    assert {key for key in keys if not key.startswith("claude-jobs.dev/")} == {
        "app.kubernetes.io/managed-by",
        "batch.kubernetes.io/job-name",
        "kueue.x-k8s.io/queue-name",
    }
