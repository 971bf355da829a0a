"""`pods/log`: parameters, refusals, and the stream."""

from datetime import datetime

from deployments.local import api_errors
from deployments.local.api_errors import ApiError, Cause
from deployments.local.log_files import LogReader, LogRequest
from deployments.local.node import Node
from deployments.local.objects import after, mapped, now, parse_time, uid_of
from deployments.local.resources import JsonObject
from deployments.local.routing import Request


def parse_log_request(request: Request) -> LogRequest:
    """Read the parameters of a log.

    Raises:
        ApiError: 400 or 422.
    """
    query = request.query
    causes: list[Cause] = []
    numbers: dict[str, int] = {}
    for name, least in (("sinceSeconds", 1), ("tailLines", 0), ("limitBytes", 1)):
        if name not in query:
            continue
        try:
            numbers[name] = int(query[name])
        except ValueError:
            raise api_errors.bad_request(
                f'strconv.ParseInt: parsing "{query[name]}": invalid syntax'
            ) from None
        if numbers[name] < least:
            rule = "greater than 0" if least else "greater than or equal to 0"
            message = f"Invalid value: {numbers[name]}: must be {rule}"
            causes.append(("FieldValueInvalid", message, name))
    if "stream" in query:
        causes.append(("FieldValueForbidden", "Forbidden: may not be specified", "stream"))
    if "sinceSeconds" in query and "sinceTime" in query:
        message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(("FieldValueForbidden", message, "[]"))
    since = _parse_since(query["sinceTime"]) if "sinceTime" in query else None
    if causes:
        details = {"name": request.target.name, "kind": "PodLogOptions"}
        raise api_errors.invalid_kind("PodLogOptions", details, request.target.name, causes)
    if "sinceSeconds" in numbers:
        since = after(now(), -numbers["sinceSeconds"])
    return LogRequest(
        follow=request.flag("follow"),
        timestamps=request.flag("timestamps"),
        since=since,
        tail_lines=numbers.get("tailLines"),
        limit_bytes=numbers.get("limitBytes"),
    )


def _parse_since(text: str) -> datetime:
    try:
        # The API server cuts fractions off on the way to the node.
        return parse_time(text).replace(microsecond=0)
    except ValueError:
        raise api_errors.bad_request(
            f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
        ) from None


def choose_container(pod: JsonObject, wanted: str) -> str:
    """Return the container of a log or an exec.

    Raises:
        ApiError: 400, there is no such one, or none is named and there are several.
    """
    spec = pod["spec"]
    names: list[str] = [c["name"] for c in spec["containers"]]
    init_names: list[str] = [c["name"] for c in spec.get("initContainers", [])]
    name = pod["metadata"]["name"]
    if not wanted and len(names) > 1:
        hint = f"choose one of: [{' '.join(names)}]"
        if init_names:
            hint += f" or one of the init containers: [{' '.join(init_names)}]"
        raise api_errors.bad_request(f"a container name must be specified for pod {name}, {hint}")
    if wanted and wanted not in (*names, *init_names):
        raise api_errors.bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted or names[0]


def open_log(node: Node, pod: JsonObject, request: Request) -> LogReader | None:
    """Return the reader of a container's log; None when nothing can have been written yet.

    Raises:
        ApiError: 400 while the container waits; 500 while the node is gone.
    """
    wanted = parse_log_request(request)
    container = choose_container(pod, request.query.get("container", ""))
    if not pod["spec"].get("nodeName"):
        return None
    check_node(node, pod)
    worker = node.worker_of(pod)
    name = pod["metadata"]["name"]
    if request.flag("previous"):
        raise api_errors.bad_request(
            f'previous terminated container "{container}" in pod "{name}" not found'
        )
    if worker is None:
        return None
    record, log = worker.containers[container].record, worker.containers[container].log
    if log is None or not record.has_started:
        reason = record.waiting_reason
        if reason in ("ErrImagePull", "ImagePullBackOff"):
            reason = "trying and failing to pull image"
            if record.waiting_reason == "ErrImagePull":
                reason = "image can't be pulled"
        raise api_errors.bad_request(
            f'container "{container}" in pod "{name}" is waiting to start: {reason}'
        )
    return LogReader(log, wanted)


def check_node(node: Node, pod: JsonObject) -> None:
    """Refuse what needs the node while it is gone.

    Raises:
        ApiError: 500.
    """
    if not node.services.frozen:
        return
    address = f"{mapped(pod, 'status').get('hostIP', '127.0.0.1')}:10250"
    where = f"https://{address}/containerLogs/{uid_of(pod)}"
    raise ApiError(
        500,
        "InternalError",
        f'Internal error occurred: Get "{where}": dial tcp {address}: connect: connection refused',
        details={"causes": [{"message": f"dial tcp {address}: connect: connection refused"}]},
    )
