import re
from datetime import date

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tasks.observation.snapshots import JobSnapshot
from tasks.storage.storage_keys import (
    StorageOwner,
    bundle_key,
    patch_key,
    result_key,
    transcript_key,
    usage_csv_key,
    usage_keys_of,
    work_files_key,
)
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid

DAY = date(2026, 11, 21)
RUN = FlowRunId("0b6f5f0e-7f3c-4d57-8f1c-1f6f7a3f2d11")
ADA = StorageOwner("agents", AgentId("Ada the reviewer"))
LONG = "a" * 60
# Ids that a cut, a fold, a quote or a path would make one of.
ADVERSARIAL = st.sampled_from(
    [
        *(f"{LONG}{tail}" for tail in ("", "1", "2", "/", "%2F", ".")),
        *("ada", "Ada", "ADA", "ada ", " ada", "ada-", "a-da", "a.da", "a/da", "a%2Fda", "a\\da"),
        *("..", ".", "/", "../..", "/etc/passwd", "a/../b", "~", "", "\x00", "a\x00", "a\n"),
        *("é", "e\u0301", "\u212a", "k", "K", "ß", "ss", "İ", "i", "日本", "\U0001f600", "\ud800"),
        *("usage", "sessions", "adopted-1", "preflight", "usage.reports", "con", "nul"),
        str(RUN),
        str(RUN).upper(),
    ]
)
IDS = ADVERSARIAL | st.text(max_size=300)


def job(name: str, flow_run_id: str = "another", attempt: int | None = 2) -> JobSnapshot:
    return JobSnapshot(
        JobName(name), JobUid("u"), flow_run_id=FlowRunId(flow_run_id), attempt=attempt
    )


def keys_of(namespace: str, agent: str, run: str, name: str, task: str) -> list[str]:
    owner, flow_run_id = StorageOwner(namespace, AgentId(agent)), FlowRunId(run)
    return [
        result_key(owner.own_attempt(flow_run_id, 1).path),
        transcript_key(owner.attempt_of(flow_run_id, job(name, f"not {run}")).path),
        owner.usage(DAY).key,
        owner.session(task).key,
    ]


@pytest.mark.parametrize(
    ("found", "path"),
    [
        pytest.param(job("job-1", RUN, 2), "2", id="own"),
        pytest.param(job("job-1", RUN, None), "1", id="own_without_number"),
        pytest.param(job("job-1"), "adopted-job-1-d48609b58b01c43da6f8", id="adopted"),
    ],
)
def test_attempts_of_a_run_and_jobs_it_took_over_never_share_a_folder(
    found: JobSnapshot, path: str
) -> None:
    assert ADA.attempt_of(RUN, found).path == f"ada-the-reviewer-5a45e26dab5ebfcbe40c/{RUN}/{path}"


def test_keys_do_not_change() -> None:
    """What one version writes, the next must find."""
    assert keys_of("agents", "Ada the reviewer", "run-1", "job-1", "T-1") == [
        "ada-the-reviewer-5a45e26dab5ebfcbe40c/run-1-426012dfb12f06ac3a9a/1/result.json",
        "ada-the-reviewer-5a45e26dab5ebfcbe40c/run-1-426012dfb12f06ac3a9a"
        "/adopted-job-1-d48609b58b01c43da6f8/transcript.jsonl.gz",
        "ada-the-reviewer-5a45e26dab5ebfcbe40c/usage/2026-11-21.json",
        "ada-the-reviewer-5a45e26dab5ebfcbe40c/sessions/t-1-ca85ef51166ac97f29c9.json",
    ]


def test_keys_of_what_an_attempt_made_do_not_change() -> None:
    path = ADA.own_attempt(RUN, 2).path

    assert bundle_key(path) == f"{path}/work.bundle"
    assert patch_key(path) == f"{path}/changes.patch"
    assert work_files_key(path) == f"{path}/work-files.json"


def test_keys_of_earlier_versions_do_not_change() -> None:
    owner = StorageOwner("any", AgentId(f"../{'é' * 60}"))
    folder = owner.attempt_of(FlowRunId("a/b"), job("job-1"))

    part = ("%2E%2E%2F" + "%C3%A9" * 60)[:200]
    assert folder.old_path == f"{part}/a%2Fb/adopted-job-1"
    assert owner.own_attempt(RUN, 3).old_path == f"{part}/{RUN}/3"
    assert owner.usage(DAY).old_key == f"{part}/usage/2026-11-21.json"
    assert owner.session("T.1").old_key == f"{part}/sessions/T%2E1.json"


@given(IDS, IDS, IDS, IDS, IDS)
def test_keys_are_short_and_of_characters_that_every_storage_takes(
    namespace: str, agent: str, run: str, name: str, task: str
) -> None:
    for key in keys_of(namespace, agent, run, name, task):
        parts = key.split("/")
        assert 3 <= len(parts) <= 4
        for part in parts:
            assert re.fullmatch(r"[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z]+)*", part), key
            assert len(part) <= 80


@given(st.tuples(IDS, IDS, IDS, IDS, IDS), st.tuples(IDS, IDS, IDS, IDS, IDS))
@example((LONG, LONG, "r", "j", "t"), (LONG, f"{LONG}2", "r", "j", "t"))
@example(("a", "ada", "r", "j", "t"), ("b", "ada", "r", "j", "t"))
@example(("ab", "c", "r", "j", "t"), ("a", "bc", "r", "j", "t"))
@example(("a", "ada", "r", "j", "t"), ("a", "Ada", "r", "j", "T"))
def test_two_agents_share_no_key(
    one: tuple[str, str, str, str, str], other: tuple[str, str, str, str, str]
) -> None:
    assume(one[:2] != other[:2])

    assert not set(keys_of(*one)) & set(keys_of(*other))


@given(st.tuples(IDS, IDS, IDS), st.tuples(IDS, IDS, IDS))
def test_an_agents_runs_jobs_and_tasks_share_no_key(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    mine, theirs = (keys_of("agents", "ada", *ids) for ids in (one, other))

    assert (mine[0] == theirs[0]) is (one[0] == other[0])
    assert (mine[1] == theirs[1]) is (one[:2] == other[:2])
    assert (mine[3] == theirs[3]) is (one[2] == other[2])
    assert len(set(mine)) == 4


@given(IDS, IDS)
def test_keys_are_the_same_in_every_run(agent: str, task: str) -> None:
    assert keys_of("n", agent, RUN, "j", task) == keys_of("n", agent, RUN, "j", task)


@given(IDS, st.booleans())
def test_records_of_a_day_are_found_among_all_that_match(agent: str, old: bool) -> None:
    where = StorageOwner("agents", AgentId(agent)).usage(DAY)
    key = where.old_key if old else where.key

    assert usage_keys_of([key], [date(2026, 11, 20), DAY]) == [key]
    assert usage_keys_of([key], [date(2026, 11, 20)]) == []


def test_report_lies_in_no_agents_folder() -> None:
    assert usage_csv_key(DAY, DAY) == "usage.reports/usage-2026-11-21-to-2026-11-21.csv"
