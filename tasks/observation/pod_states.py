"""One state of a pod out of several that were seen: what was known once is not forgotten.

Kubelets and controllers write over what they said before: a deleted pod's last state may lack how
its container ended, a restarted node reports every container as `ContainerStatusUnknown`, and the
reason of an eviction may be gone once the pod is collected. The kubelet's own last DELETE, with no
grace, puts its time in the place of the time at which somebody asked for the deletion.
"""

from collections.abc import Iterator
from typing import Any, cast

from tasks.observation.api_fields import RawObject, object_at, objects_at, text_at
from tasks.observation.container_states import ContainerTerminated
from tasks.vocabulary.names import AGENT_CONTAINER

_STATUSES = "containerStatuses"
_DELETION = ("deletionTimestamp", "deletionGracePeriodSeconds")


def has_observed_ending(pod: RawObject) -> bool:
    """Tell whether somebody saw how the agent's container of the pod ended."""
    return _is_observed(_agent_status(pod))


def has_ending(pod: RawObject) -> bool:
    """Tell whether the agent's container of the pod is reported as ended."""
    return bool(object_at(object_at(_agent_status(pod), "state"), "terminated"))


def _agent_status(pod: RawObject) -> RawObject:
    """Return the status of the agent's container; other containers may end before or after it."""
    statuses = objects_at(object_at(pod, "status"), _STATUSES)
    nothing: RawObject = {}
    return next((item for item in statuses if item.get("name") == AGENT_CONTAINER), nothing)


def is_being_deleted(pod: RawObject) -> bool:
    """Tell whether somebody has asked for the pod's deletion."""
    return text_at(object_at(pod, "metadata"), "deletionTimestamp") is not None


def merge_states(
    latest: RawObject, ended: RawObject | None, leaving: RawObject | None = None
) -> RawObject:
    """Return the newest state, with what earlier ones said and it no longer does.

    Args:
        latest: The newest state of the pod.
        ended: The one that told most about how its agent's container ended, if it did.
        leaving: The first one in which the pod was being deleted, if it is.
    """
    merged = _with_ending(latest, ended)
    if leaving is None or leaving is latest:
        return merged
    before = object_at(leaving, "metadata")
    asked = {key: before[key] for key in _DELETION if key in before}
    return {**merged, "metadata": {**object_at(latest, "metadata"), **asked}}


def _with_ending(latest: RawObject, ended: RawObject | None) -> RawObject:
    if ended is None or ended is latest:
        return latest
    now, before = object_at(latest, "status"), object_at(ended, "status")
    known = {text_at(item, "name"): item for item in objects_at(before, _STATUSES)}
    statuses = [
        item if _is_observed(item) else _ended_or(known.pop(text_at(item, "name"), None), item)
        for item in objects_at(now, _STATUSES)
    ]
    named = {text_at(item, "name") for item in statuses}
    statuses += [item for name, item in known.items() if name not in named]
    merged: dict[str, Any] = {
        **{key: before[key] for key in ("reason", "message") if before.get(key)},
        **{key: value for key, value in now.items() if value not in (None, "")},
        _STATUSES: statuses,
        "conditions": [*objects_at(now, "conditions"), *_lost_conditions(now, before)],
    }
    return {**latest, "status": merged}


def _ended_or(before: RawObject | None, now: RawObject) -> RawObject:
    has_ended = before is not None and object_at(object_at(before, "state"), "terminated")
    return cast("RawObject", before) if has_ended else now


def _is_observed(status: RawObject) -> bool:
    terminated = object_at(object_at(status, "state"), "terminated")
    return bool(terminated) and ContainerTerminated.from_api(terminated).exit_code is not None


def _lost_conditions(now: RawObject, before: RawObject) -> Iterator[RawObject]:
    named = {text_at(item, "type") for item in objects_at(now, "conditions")}
    return (item for item in objects_at(before, "conditions") if text_at(item, "type") not in named)
