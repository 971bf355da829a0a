from typing import Any

import pytest

from tasks.cluster.watching.job_records import JobRecords, ObservedPod


def pod(version: int | str, *, uid: str = "p1", ended: bool = False) -> dict[str, Any]:
    state: dict[str, Any] = {"terminated": {"exitCode": 3}} if ended else {"running": {}}
    return {
        "metadata": {"uid": uid, "resourceVersion": str(version)},
        "status": {"containerStatuses": [{"name": "agent", "state": state}]},
    }


def job(version: int | str) -> dict[str, Any]:
    return {"metadata": {"uid": "j", "resourceVersion": str(version)}}


@pytest.mark.parametrize(
    ("first", "second", "is_news", "kept"),
    [
        (9, 10, True, 10),
        (10, 9, False, 10),
        (10, 10, False, 10),
        ("b", "a", True, "a"),
        ("a", "a", False, "a"),
        ("1" * 5000, "2" * 5000, True, "2" * 5000),
        ("²", "1", True, "1"),
    ],
    ids=["newer", "older", "same", "opaque", "opaque, same", "no 64 bits", "no digits"],
)
def test_job_state_is_replaced_by_a_newer_one_only(
    first: int | str, second: int | str, is_news: bool, kept: int | str
) -> None:
    records = JobRecords()

    assert records.accept_job(job(first))
    assert records.accept_job(job(second)) is is_news
    assert records.job == job(kept)


def test_terminated_state_outlives_later_states_that_lost_it() -> None:
    records = JobRecords()
    records.accept_pod(pod(1))
    records.accept_pod(pod(2, ended=True))
    records.accept_pod(pod(3))

    assert records.pods["p1"] == ObservedPod(pod(3), pod(2, ended=True), None, is_gone=False)


def test_first_state_of_a_deletion_is_kept() -> None:
    records = JobRecords()
    asked, last = pod(2), pod(3, ended=True)
    asked["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:20Z"}
    last["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:01Z"}

    for state in (pod(1), asked, last):
        records.accept_pod(state)

    assert records.pods["p1"] == ObservedPod(last, last, asked, is_gone=False)


def test_last_state_of_a_deleted_pod_is_kept() -> None:
    records = JobRecords()
    records.accept_pod(pod(1))

    assert records.accept_pod(pod(2, ended=True), is_gone=True)
    assert records.pods["p1"] == ObservedPod(
        pod(2, ended=True), pod(2, ended=True), None, is_gone=True
    )


def test_older_state_of_a_deleted_pod_does_not_bring_it_back() -> None:
    records = JobRecords()
    records.accept_pod(pod(5), is_gone=True)

    assert not records.accept_pod(pod(4))
    assert not records.accept_pod(pod(5), is_gone=True)
    assert records.pods["p1"].is_gone


def test_pod_missing_in_a_list_has_gone_with_its_last_state() -> None:
    records = JobRecords()
    records.accept_pod(pod(5, ended=True))

    assert records.accept_pod_list([pod(6, uid="p2")], "7")
    assert records.pods == {
        "p1": ObservedPod(pod(5, ended=True), pod(5, ended=True), None, is_gone=True),
        "p2": ObservedPod(pod(6, uid="p2"), None, None, is_gone=False),
    }
    assert not records.accept_pod_list([pod(6, uid="p2")], "8")


def test_pod_newer_than_a_list_has_not_gone() -> None:
    records = JobRecords()
    records.accept_pod(pod(9))
    records.accept_pod_list([], "7")

    assert not records.accept_pod_list([], "8")
    assert not records.pods["p1"].is_gone


def test_first_list_of_pods_is_news_even_when_it_is_empty() -> None:
    records = JobRecords()

    assert records.accept_pod_list([], "1")
    assert records.pods_listed
    assert not records.accept_pod_list([], "2")


def test_pod_without_any_status_has_no_ended_container() -> None:
    records = JobRecords()
    records.accept_pod({"metadata": {"uid": "p1", "resourceVersion": "1"}})

    assert records.pods["p1"].terminated is None
