"""Label and field selectors: text to a predicate. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from deployments.local.api_errors import bad_request
from deployments.local.objects import mapped
from deployments.local.resources import JsonObject

Tested = TypeVar("Tested")
Predicate = Callable[[JsonObject], bool]

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<absent_key>[\w./-]+)"
    r"|(?P<set_key>[\w./-]+)\s+(?P<set_op>in|notin)\s*\((?P<values>[^()]*)\)"
    r"|(?P<key>[\w./-]+)\s*(?:(?P<op>==|!=|=)\s*(?P<value>[\w.-]*))?)\s*(?:,|$)"
)

# What a server can select by, besides name and namespace.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Pod": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "Event": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "source",
        "type",
    ),
    "Job": ("status.successful",),
    "Secret": ("type",),
    "Namespace": ("status.phase",),
    "Node": ("spec.unschedulable",),
}


def parse_label_selector(text: str) -> Callable[[Mapping[str, str]], bool]:
    """Return a test of labels.

    Raises:
        ApiError: 400, the text is no selector.
    """
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    position = 0
    while position < len(text):
        match = _REQUIREMENT.match(text, position)
        if match is None or match.end() == position:
            raise bad_request(f"unable to parse requirement: found '{text[position:]}'")
        tests.append(_label_test(match))
        position = match.end()
    return _all_of(tests)


def _label_test(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if match["absent"]:
        absent_key = match["absent_key"]
        return lambda labels: absent_key not in labels
    if match["set_key"]:
        set_key = match["set_key"]
        values = {value.strip() for value in match["values"].split(",")}
        if match["set_op"] == "in":
            return lambda labels: labels.get(set_key) in values
        return lambda labels: labels.get(set_key) not in values
    key, op, value = match["key"], match["op"], match["value"]
    if op is None:
        return lambda labels: key in labels
    if op == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value


def parse_field_selector(text: str, kind: str) -> Predicate:
    """Return a test of objects of one kind.

    Raises:
        ApiError: 400, a field that this kind cannot be selected by.
    """
    tests: list[Predicate] = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"\s*([\w.]+)\s*(==|!=|=)\s*(.*?)\s*", part)
        if match is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        field, op, value = match.groups()
        known = ("metadata.name", "metadata.namespace", *_FIELDS.get(kind, ()))
        if field not in known:
            raise bad_request(
                f'"{field}" is not a known field selector: only "metadata.name", '
                '"metadata.namespace"'
            )
        tests.append(_field_test(field, value, equal=op != "!="))
    return _all_of(tests)


def _field_test(field: str, value: str, *, equal: bool) -> Predicate:
    return lambda obj: (_field(obj, field) == value) is equal


def _field(obj: JsonObject, path: str) -> str:
    if path == "source":
        path = "source.component"
    found: Any = obj
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # JSON
    return "" if found is None else str(found)  # pyright: ignore[reportUnknownArgumentType] # JSON


def build_predicate(label_selector: str, field_selector: str, kind: str) -> Predicate:
    """Join both selectors of a request; empty texts select everything.

    Raises:
        ApiError: 400, one of them cannot be read.
    """
    by_labels = parse_label_selector(label_selector)
    by_fields = parse_field_selector(field_selector, kind)
    return lambda obj: by_labels(mapped(obj["metadata"], "labels")) and by_fields(obj)


def _all_of(tests: Sequence[Callable[[Tested], bool]]) -> Callable[[Tested], bool]:
    """Join tests; the last one given first, since what is most common is usually named first."""
    others = tuple(reversed(tests))

    def passes(tested: Tested) -> bool:
        for test in others:  # noqa: SIM110 - `all` takes twice as long, for each object of a list
            if not test(tested):
                return False
        return True

    return passes
