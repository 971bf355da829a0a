"""What is known of one Job and its pods, as reads and watch events come in, in any order. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.cluster.json_objects import JsonObject
from tasks.observation.pod_states import has_ending, has_observed_ending, is_being_deleted

_NUMBER = re.compile(r"[0-9]{1,20}")  # of 64 bits


@dataclass(frozen=True)
class ObservedPod:
    """One pod of the Job, kept after it has gone.

    Attributes:
        latest: The newest state that was seen; of a deleted pod, its last.
        terminated: The newest state in which the agent's container had ended; outlives later states
            that no longer say so, or no longer how.
        leaving: The first state in which its deletion had been asked for; later ones may tell of
            the kubelet's own deletion in its place.
        is_gone: It was deleted; what is known of it is all there will ever be.
    """

    latest: JsonObject
    terminated: JsonObject | None
    leaving: JsonObject | None
    is_gone: bool


class JobRecords:
    """The newest state of one Job and of each of its pods; nothing older replaces it.

    Attributes:
        job: None until the Job was seen.
        pods: By UID.
        pods_listed: All pods there were at one instant have been seen.
    """

    def __init__(self) -> None:
        self.pods_listed = False
        self.job: JsonObject | None = None
        self.pods: dict[str, ObservedPod] = {}

    def accept_job(self, job: JsonObject) -> bool:
        """Take a state of the Job; tell whether it was news."""
        if self.job is not None and not _is_newer(job, self.job):
            return False
        self.job = job
        return True

    def accept_pod(self, pod: JsonObject, *, is_gone: bool = False) -> bool:
        """Take a state of a pod; tell whether it was news."""
        uid = str(pod["metadata"]["uid"])
        known = self.pods.get(uid)
        if known is not None and not _is_newer(pod, known.latest):
            if known.is_gone or not is_gone:
                return False
            pod = known.latest
        self.pods[uid] = ObservedPod(
            pod, _ended_state(known, pod), _leaving_state(known, pod), is_gone
        )
        return True

    def accept_pod_list(self, pods: Iterable[JsonObject], resource_version: str) -> bool:
        """Take all pods there are at one instant; those missing have gone. Tell whether news."""
        listed = {str(pod["metadata"]["uid"]): pod for pod in pods}
        news = [not self.pods_listed, *(self.accept_pod(pod) for pod in listed.values())]
        self.pods_listed = True
        for uid, known in list(self.pods.items()):
            is_older = not _is_newer_version(_version(known.latest), resource_version)
            # A pod made after the list was drawn up is missing in it without having gone.
            if uid not in listed and not known.is_gone and is_older:
                news.append(self.accept_pod(known.latest, is_gone=True))
        return any(news)


def _ended_state(known: ObservedPod | None, pod: JsonObject) -> JsonObject | None:
    before = known.terminated if known is not None else None
    if has_observed_ending(pod) or (before is None and has_ending(pod)):
        return pod
    return before


def _leaving_state(known: ObservedPod | None, pod: JsonObject) -> JsonObject | None:
    before = known.leaving if known is not None else None
    return pod if before is None and is_being_deleted(pod) else before


def _version(found: JsonObject) -> str:
    return str(found["metadata"].get("resourceVersion") or "")


def _is_newer(candidate: JsonObject, known: JsonObject) -> bool:
    return _is_newer_version(_version(candidate), _version(known))


def _is_newer_version(candidate: str, known: str) -> bool:
    """Compare resourceVersions of one kind.

    Source:
        Comparable as numbers by KEP-5504; etcd's revisions always were. Where a server uses
        something else, what comes later counts as newer.
    """
    if _NUMBER.fullmatch(candidate) and _NUMBER.fullmatch(known):
        return int(candidate) > int(known)
    return candidate != known
