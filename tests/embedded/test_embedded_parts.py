"""The pure parts of the embedded cluster."""

import asyncio
import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.local import defaults, deletion, environment, validation
from deployments.local.api_errors import ApiError
from deployments.local.deletion import DeleteOptions, prepare_deletion
from deployments.local.environment import ConfigError, EnvironmentBuilder, PathRewriter, expand
from deployments.local.log_files import PIECE_BYTES, LogFile, LogReader, LogRequest, LogSettings
from deployments.local.objects import now
from deployments.local.patching import (
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_patch,
)
from deployments.local.protobuf import read_protobuf
from deployments.local.quantities import parse_quantity
from deployments.local.resources import JOBS, LEASES, PODS, SECRETS
from deployments.local.scheduler import find_obstacle
from deployments.local.schema import Schema, decode
from deployments.local.selectors import parse_field_selector, parse_label_selector
from deployments.local.store import Store
from deployments.local.tables import human_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "one"),
        ("$(A)/x$(B)", "one/xtwo"),
        ("$(NONE)", "$(NONE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$one"),
        ("$A costs $", "$A costs $"),
        ("$(A", "$(A"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "one", "B": "two"}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/in", "/real/a"),
        ("/in/run.sh", "/real/a/run.sh"),
        ("cat /in/k >/in/deep/f", "cat /real/a/k >/real/b/f"),
        ("--file=/in/k", "--file=/real/a/k"),
        ("/inner", "/inner"),
        ("/x/in", "/x/in"),
        ("nothing", "nothing"),
    ],
)
def test_mount_paths_are_rewritten_as_whole_words(text: str, expected: str) -> None:
    assert PathRewriter({"/in": "/real/a", "/in/deep/": "/real/b"}).rewrite(text) == expected


def test_environment_takes_fields_keys_and_sources() -> None:
    pod = {"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}}, "spec": {}}
    encoded = base64.b64encode(b"v").decode()
    builder = EnvironmentBuilder(
        pod,
        lambda name: {"data": {"k": encoded}} if name == "s" else None,
        lambda name: {"data": {"m": "w", "not ok": "x"}} if name == "c" else None,
    )
    container: dict[str, Any] = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {
                "name": "MAYBE",
                "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}},
            },
            {"name": "ALL", "value": "$(NAME)-$(KEY)-$(P_m)"},
        ],
    }

    assert builder.build(container) == {
        "P_m": "w",
        "NAME": "p",
        "LABEL": "b",
        "KEY": "v",
        "ALL": "p-v-w",
    }
    missing = {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]}
    with pytest.raises(ConfigError, match='secret "none" not found'):
        builder.build(missing)
    assert environment.container_argv({"command": ["a"], "args": ["$(X)"]}, {"X": "y"}) == [
        "a",
        "y",
    ]


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "test", "path": "/a", "value": 1}], {"a": 1, "l": [1, 2]}),
        ([{"op": "test", "path": "/none", "value": None}], {"a": 1, "l": [1, 2]}),
        ([{"op": "replace", "path": "/none", "value": 2}], {"a": 1, "l": [1, 2], "none": 2}),
        ([{"op": "add", "path": "/l/1", "value": 9}], {"a": 1, "l": [1, 9, 2]}),
        ([{"op": "add", "path": "/l/-", "value": 9}], {"a": 1, "l": [1, 2, 9]}),
        ([{"op": "remove", "path": "/l/0"}], {"a": 1, "l": [2]}),
        ([{"op": "move", "from": "/a", "path": "/b"}], {"b": 1, "l": [1, 2]}),
        ([{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1, "l": [1, 2]}),
        ([{"op": "add", "path": "/x~1y", "value": 1}], {"a": 1, "l": [1, 2], "x/y": 1}),
        ([{"op": "test", "path": "/a", "value": 2}], None),
        ([{"op": "test", "path": "/none/x", "value": 2}], None),
        ([{"op": "remove", "path": "/none"}], None),
        ([{"op": "add", "path": "/none/x", "value": 1}], None),
        ([{"op": "add", "path": "/l/7", "value": 1}], None),
        ([{"op": "spoil", "path": "/a"}], None),
    ],
)
def test_json_patch_applies_or_is_refused_with_422(
    operations: list[Any], expected: dict[str, Any] | None
) -> None:
    document = {"a": 1, "l": [1, 2]}
    if expected is None:
        with pytest.raises(ApiError) as raised:
            apply_json_patch(document, operations)
        assert (raised.value.code, raised.value.details) == (422, {})
    else:
        assert apply_json_patch(document, operations) == expected
    assert document == {"a": 1, "l": [1, 2]}


def test_merge_patch_merges_objects_and_removes_nulls() -> None:
    patched = apply_merge_patch({"a": {"x": 1, "y": 2}, "l": [1]}, {"a": {"x": None}, "l": [2]})

    assert patched == {"a": {"y": 2}, "l": [2]}


def test_strategic_patch_merges_lists_by_their_key() -> None:
    pod = {"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b"}], "nodeName": "n"}}
    patch = {
        "spec": {
            "containers": [
                {"name": "a", "env": [{"name": "E", "value": "1"}]},
                {"name": "b", "$patch": "delete"},
                {"name": "c"},
            ],
            "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
            "nodeName": None,
        }
    }

    assert apply_strategic_patch(pod, patch, Schema.of(PODS)) == {
        "spec": {
            "containers": [
                {"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]},
                {"name": "c"},
            ]
        }
    }


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ("a=b", {"a": "b"}, True),
        ("a==b,c!=d", {"a": "b", "c": "d"}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a notin (b)", {}, True),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("x.dev/a=b", {"x.dev/a": "b"}, True),
        ("", {}, True),
    ],
)
def test_label_selectors(selector: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_label_selector(selector)(labels) is expected


def test_unreadable_selectors_are_bad_requests() -> None:
    for broken in ("a in", "=b", "a=b c"):
        with pytest.raises(ApiError, match="unable to parse"):
            parse_label_selector(broken)
    with pytest.raises(ApiError, match='"foo" is not a known field selector'):
        parse_field_selector("foo=1", "Pod")


def test_fields_that_the_version_does_not_know_vanish() -> None:
    spec = {"suspend": True, "halt": True, "template": {"x": 1, "spec": {"containers": [{"y": 1}]}}}
    unknown: list[str] = []

    assert decode(JOBS, {"spec": spec, "status": None}, unknown) == {
        "spec": {"suspend": True, "template": {"spec": {"containers": [{}]}}}
    }
    assert sorted(unknown) == ["spec.halt", "spec.template.spec.containers[0].y", "spec.template.x"]


@pytest.mark.parametrize(
    ("resource", "body"),
    [
        (SECRETS, {"metadata": {"labels": {"a": 5}}}),
        (JOBS, {"spec": {"backoffLimit": "0"}}),
        (LEASES, {"spec": {"renewTime": "2026-01-01T00:00:00Z"}}),
        (LEASES, {"spec": []}),
    ],
    ids=["label_number", "text_for_number", "seconds_for_microseconds", "list_for_object"],
)
def test_wrong_types_are_bad_requests(resource: Any, body: Any) -> None:
    with pytest.raises(ApiError) as raised:
        decode(resource, body)
    assert raised.value.code == 400


def test_job_defaults_are_those_of_the_server() -> None:
    spec = {"containers": [{"name": "a", "image": "i"}], "restartPolicy": "Never"}
    job: dict[str, Any] = {
        "metadata": {"name": "j", "uid": "u"},
        "spec": {"template": {"spec": spec}},
    }
    defaults.apply_defaults(JOBS, job)

    own = {"controller-uid": "u", "job-name": "j"}
    labels = {**own, **{f"batch.kubernetes.io/{key}": value for key, value in own.items()}}
    assert job["metadata"]["labels"] == labels
    selector = {"batch.kubernetes.io/controller-uid": "u"}
    assert job["spec"]["selector"] == {"matchLabels": selector}
    assert job["spec"]["podReplacementPolicy"] == "TerminatingOrFailed"
    assert (job["spec"]["completionMode"], job["spec"]["suspend"]) == ("NonIndexed", False)
    assert job["spec"]["template"]["metadata"]["labels"] == labels
    assert (job["spec"]["backoffLimit"], job["spec"]["completions"]) == (6, 1)
    assert spec["containers"][0] == {
        "name": "a",
        "image": "i",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "Always",
    }
    assert validation.find_faults(JOBS, job) == []


def test_names_and_labels_are_checked() -> None:
    secret = {"metadata": {"name": "S_1", "labels": {"a": "b c", "-x": ""}}}

    found = [(reason, field) for reason, _, field in validation.find_faults(SECRETS, secret)]
    assert found == [
        ("FieldValueInvalid", "metadata.name"),
        ("FieldValueInvalid", "metadata.labels"),
        ("FieldValueInvalid", "metadata.labels"),
    ]


@pytest.mark.parametrize(
    ("pod", "grace", "expected"),
    [
        ({"spec": {}}, None, 0),
        ({"spec": {"nodeName": "n"}}, None, 30),
        ({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 5}}, None, 5),
        ({"spec": {"nodeName": "n"}}, 2, 2),
        ({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}}, None, 0),
    ],
    ids=["unscheduled", "default", "own", "asked", "ended"],
)
def test_pod_deletion_grants_its_grace(pod: Any, grace: int | None, expected: int) -> None:
    obj = {"metadata": {"name": "p"}, **pod}
    marked = prepare_deletion(PODS, obj, DeleteOptions(grace_seconds=grace))

    assert marked is not None
    assert marked["metadata"]["deletionGracePeriodSeconds"] == expected
    assert "deletionTimestamp" not in obj["metadata"]


@pytest.mark.parametrize(
    ("policy", "finalizers"),
    [("", ["orphan"]), ("Foreground", ["foregroundDeletion"]), ("Background", None)],
)
def test_job_deletion_orphans_unless_told_otherwise(
    policy: str, finalizers: list[str] | None
) -> None:
    marked = prepare_deletion(JOBS, {"metadata": {"name": "j"}}, DeleteOptions(policy=policy))

    assert (marked and marked["metadata"]["finalizers"]) == finalizers
    with pytest.raises(ApiError, match="propagationPolicy"):
        deletion.parse_delete_options({"propagationPolicy": "Foo"}, {}, dry_run=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100m", 0.1), ("2", 2), ("1Ki", 1024), ("1.5Gi", 1.5 * 2**30), ("3k", 3000)],
)
def test_quantities(text: str, expected: float) -> None:
    assert float(parse_quantity(text)) == expected


def test_obstacles_are_the_schedulers_sentences() -> None:
    node = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi"}},
    }
    requests = {"cpu": "600m", "memory": "1Mi"}
    pod = {"spec": {"containers": [{"resources": {"requests": requests}}]}}
    picky = {"spec": {**pod["spec"], "nodeSelector": {"a": "c"}}}

    assert find_obstacle(pod, node, []) == ""
    assert find_obstacle(pod, node, [pod]).startswith(
        "0/1 nodes are available: 1 Insufficient cpu. "
    )
    assert find_obstacle(picky, node, []) == (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new "
        "claims to deallocate, preemption: 0/1 nodes are available: "
        "1 Preemption is not helpful for scheduling."
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(5, "5s"), (119, "119s"), (125, "2m5s"), (700, "11m"), (11_000, "3h3m"), (200_000, "2d")],
)
def test_ages_are_written_as_kubectl_does(seconds: float, expected: str) -> None:
    assert human_duration(seconds) == expected


def test_protobuf_body_of_a_namespace_is_read() -> None:
    meta = b"\x0a\x05hello" + b"\x12\x00" + b"\x5a\x06\x0a\x01a\x12\x01b"
    raw = b"\x0a" + bytes([len(meta)]) + meta
    type_meta = b"\x0a\x02v1\x12\x09Namespace"
    envelope = b"\x0a" + bytes([len(type_meta)]) + type_meta + b"\x12" + bytes([len(raw)]) + raw

    assert read_protobuf(b"k8s\0" + envelope) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "hello", "labels": {"a": "b"}},
    }
    with pytest.raises(ApiError):
        read_protobuf(b"k8s\0" + envelope[:-3])


async def test_lists_and_changes_of_the_past_are_kept_until_compaction() -> None:
    store = Store()
    for name in ("a", "b"):
        store.create(SECRETS, {"metadata": {"name": name, "namespace": "n", "uid": name}})
    before = store.version
    store.remove(SECRETS, store.list(SECRETS)[0])

    assert [o["metadata"]["name"] for o in store.list(SECRETS, "n")] == ["b"]
    assert [o["metadata"]["name"] for o in store.list_at(SECRETS, "n", before)] == ["a", "b"]
    assert [change.type for change in store.changes_since(SECRETS, before)] == ["DELETED"]
    store.compact()
    with pytest.raises(ApiError, match="too old resource version"):
        store.changes_since(SECRETS, before)


async def read_log(log: LogFile, **request: Any) -> bytes:
    reader = LogReader(log, LogRequest(**request))
    return b"".join([block async for block in reader.blocks()])


async def test_long_lines_are_stored_in_pieces_and_read_whole(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", LogSettings())
    line = b"x" * (2 * PIECE_BYTES + 5)
    log.write("stdout", line[:7], 1)
    log.write("stdout", line[7:] + b"\nend", 2)
    log.end_stream("stdout", 3)
    log.close()

    stored = log.path.read_bytes().splitlines()
    assert [entry.split(b" ")[2] for entry in stored] == [b"P", b"P", b"F", b"P"]
    assert await read_log(log) == line + b"\nend"
    assert await read_log(log, tail_lines=1) == b"end"
    assert await read_log(log, tail_lines=2) == b"xxxxx\nend"
    assert await read_log(log, tail_lines=0) == b""
    assert await read_log(log, limit_bytes=10) == b"x" * 10
    # One for each line, whatever its number of pieces.
    assert (await read_log(log, timestamps=True)).count(b"1970-01-01T00:00:00.00000000") == 2


async def test_line_of_exactly_one_piece_is_one_piece(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", LogSettings())
    log.write("stdout", b"y" * PIECE_BYTES + b"\n", 1)

    assert log.path.read_bytes().count(b"\n") == 1
    assert await read_log(log) == b"y" * PIECE_BYTES + b"\n"
    log.close()


async def test_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", LogSettings())
    moment = now()
    for age, text in ((60, b"old\n"), (0, b"new\n")):
        log.write("stdout", text, int((moment.timestamp() - age) * 1e9))

    assert await read_log(log, since=moment - timedelta(seconds=30)) == b"new\n"
    log.close()


async def test_follow_ends_without_a_word_when_the_file_is_replaced(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", LogSettings(rotation_bytes=10, rotation_interval_seconds=0))
    log.write("stdout", b"first line\n", 1)
    reading = asyncio.create_task(read_log(log, follow=True))
    await asyncio.sleep(0.05)
    log.rotate_when_due(1.0)
    log.write("stdout", b"second\n", 2)

    assert await asyncio.wait_for(reading, 2) == b"first line\n"
    assert await read_log(log) == b"second\n"
    log.close()


async def test_follow_of_a_removed_container_just_ends(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", LogSettings())
    log.write("stdout", b"last\n", 1)
    reading = asyncio.create_task(read_log(log, follow=True))
    await asyncio.sleep(0.05)
    log.remove()

    assert await asyncio.wait_for(reading, 2) == b"last\n"
