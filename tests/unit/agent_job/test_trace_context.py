"""What makes an agent's spans part of their run's trace."""

from typing import Any

import pytest

from tasks.agent_job.manifest import JobSpec, build_job_manifest
from tasks.agent_job.trace_context import trace_env
from tests.unit.agent_job.run_inputs import make_job_spec

RUN = "0f0c9a3e-5a5c-4a27-9f3c-b34b41d8c8f1"
PREFECTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def build(run_traceparent: str | None = None, **fields: str | None) -> dict[str, str]:
    known = {"flow_run_id": RUN, "agent_id": "agent-1", "task_id": None, **fields}
    return trace_env(
        run_traceparent=run_traceparent,
        flow_run_id=known["flow_run_id"] or "",
        namespace="agents",
        job_name="job-1",
        agent_id=known["agent_id"] or "",
        task_id=known["task_id"],
    )


def test_trace_is_prefects_own_where_it_has_one() -> None:
    assert build(PREFECTS)["TRACEPARENT"] == PREFECTS


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param(PREFECTS.upper(), id="upper case"),
        pytest.param("ff" + PREFECTS[2:], id="version that is none"),
        pytest.param("00-" + "0" * 32 + PREFECTS[35:], id="no trace"),
        pytest.param(PREFECTS[:36] + "0" * 16 + "-00", id="no span"),
        pytest.param(PREFECTS + "\nX=1", id="more than one line"),
    ],
)
def test_trace_is_found_by_the_flow_run_where_prefect_has_none(given: str | None) -> None:
    [version, trace, span, flags] = build(given)["TRACEPARENT"].split("-")

    assert (version, trace, flags) == ("00", RUN.replace("-", ""), "01")
    assert (len(span), int(span, 16) != 0) == (16, True)


@pytest.mark.parametrize("flow_run_id", ["run-1", "00000000-0000-0000-0000-000000000000"])
def test_trace_of_a_run_whose_id_is_no_trace_id_is_valid_too(flow_run_id: str) -> None:
    trace = build(flow_run_id=flow_run_id)["TRACEPARENT"].split("-")[1]

    assert (len(trace), int(trace, 16) != 0) == (32, True)


def test_attributes_are_encoded_as_baggage() -> None:
    attributes = build(agent_id="a,b=c ü", task_id="T 1")["OTEL_RESOURCE_ATTRIBUTES"].split(",")

    assert attributes == [
        "prefect.run.type=flow",
        f"prefect.run.id={RUN}",
        "k8s.namespace.name=agents",
        "k8s.job.name=job-1",
        "claude_jobs.agent.id=a%2Cb%3Dc%20%C3%BC",
        "claude_jobs.task.id=T%201",
    ]


def agent_env(spec: JobSpec) -> dict[str, Any]:
    container = build_job_manifest(spec)["spec"]["template"]["spec"]["containers"][0]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_own_values_win_and_own_attributes_are_added_to() -> None:
    env = {"TRACEPARENT": PREFECTS, "OTEL_RESOURCE_ATTRIBUTES": "team=x"}
    key = {"env": "OTEL_RESOURCE_ATTRIBUTES", "kind": "config_map", "name": "m", "key": "k"}

    plain = agent_env(make_job_spec({"env": env}))
    by_key = agent_env(make_job_spec(runtime={"env_from_keys": [key]}))

    assert plain["TRACEPARENT"] == PREFECTS
    assert plain["OTEL_RESOURCE_ATTRIBUTES"].startswith("team=x,prefect.run.type=flow,")
    assert by_key["OTEL_RESOURCE_ATTRIBUTES"] == {"configMapKeyRef": {"name": "m", "key": "k"}}
