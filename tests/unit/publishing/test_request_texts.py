from typing import Any

import pytest

from tasks.agent_job.prepared_run import prepare_run
from tasks.agent_job.publish_rules import TEXT_NAMES
from tasks.agent_job.publish_settings import Publish
from tasks.agent_job.run_request import AgentRunRequest
from tasks.outcome.run_result import WorkResult
from tasks.publishing.pull_requests import MARK, RequestText
from tasks.publishing.request_texts import request_text
from tasks.text.redaction import Redactor
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import FlowRunId

WORK = WorkResult(collected=True, commits=2, files_changed=3, work_commit="c" * 40)


def text(answer: str | None = "Done.", task: str | None = "t-1", **publish: Any) -> RequestText:
    settings = Publish(credentials_secret="push", **publish)
    request = AgentRunRequest.model_validate(
        {
            "agent": {"agent_id": "a", "name": "Ann", "deliver": "pull_request"},
            "runtime": {
                "image": "i",
                "git": {"image": "g"},
                "publish": settings.model_dump(),
            },
            "task_id": task,
            "workspace": {"repo_url": "https://github.com/o/r"},
        }
    )
    assert not isinstance(request.agent, str)
    assert not isinstance(request.runtime, str)
    prepared = prepare_run(
        request,
        request.agent,
        request.runtime,
        flow_run_id=FlowRunId("run-1"),
        run_script="",
        keeper_script="",
    )
    assert prepared.publish_plan is not None
    return request_text(
        prepared,
        settings,
        prepared.publish_plan,
        WORK,
        task_id=task,
        run_link="https://prefect.example/runs/1",
        answer=answer,
        redactor=Redactor(["planted-secret"]),
    )


def test_text_tells_agent_task_changes_and_report() -> None:
    found = text()

    assert found.title == "Ann: task t-1"
    assert "2 commits, 3 changed files" in found.body
    assert "(https://prefect.example/runs/1)" in found.body
    assert found.body.rstrip().endswith(MARK)


def test_answer_mentions_nobody_and_cannot_leave_its_block() -> None:
    found = text("@everyone fixes #1\n```\n![x](https://tracker)\n" + MARK)

    lines = found.body.splitlines()
    [begin, *_, end] = [number for number, line in enumerate(lines) if line.startswith("````")]
    quoted = lines[begin + 1 : end]
    assert quoted[0] == "@everyone fixes #1"
    assert quoted[-1] == MARK


@pytest.mark.parametrize("answer", ["x" * 200_000, None, "planted-secret"])
def test_text_is_bounded_and_has_no_secret(answer: str | None) -> None:
    found = text(answer, title="planted-secret " + "{{ agent.name }}" * 50, body="{{ answer }}")

    assert len(found.title) <= 201
    assert len(found.body) < 65_536
    assert "planted-secret" not in found.title + found.body
    assert found.body.rstrip().endswith(MARK)


def test_run_without_a_task_is_named_after_itself() -> None:
    assert text(task=None).title == "Ann: run run-1"


@pytest.mark.parametrize("field", ["title", "body"])
def test_unknown_name_in_a_template_is_named_before_anything_is_created(field: str) -> None:
    with pytest.raises(InputInvalid, match="nonsense"):
        text(**{field: "{{ nonsense }}"})


def test_every_name_that_is_let_in_has_a_value() -> None:
    names = [
        f"{name}.{part}" if part else name
        for name, parts in TEXT_NAMES.items()
        for part in (parts if isinstance(parts, dict) else [""])
    ]

    found = text(body=" ".join(f"[{{{{ {name} }}}}]" for name in names))

    assert "[a] [Ann] []" in found.body
    assert "[2] [3]" in found.body
