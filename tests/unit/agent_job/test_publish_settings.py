from typing import Any

import pytest
from pydantic import ValidationError

from tasks.agent_job.publish_rules import refuse_unpublishable
from tasks.agent_job.publish_settings import Publish, PublishPlan, plan_publishing, read_plan
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.vocabulary.errors import InputInvalid

GITHUB = "https://github.com/o/r"
SECRET = {"credentials_secret": "push"}


def spec(deliver: str = "push", **fields: Any) -> AgentSpec:
    return AgentSpec.model_validate({"agent_id": "a", "deliver": deliver, **fields})


def runtime(publish: dict[str, Any] | None = SECRET, **fields: Any) -> RuntimeSpec:
    return RuntimeSpec.model_validate({"image": "i", "publish": publish, **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "either credentials_secret or credentials_block"),
        ({**SECRET, "credentials_block": "b"}, "either credentials_secret or credentials_block"),
        ({**SECRET, "branch": "main"}, "needs agent.id"),
        ({**SECRET, "target_branch": "a b"}, "target_branch"),
        ({**SECRET, "api_url": "https://h/api/v4"}, "forge"),
        ({**SECRET, "api_url": "https://u:p@h/api", "forge": "gitlab"}, "api_url"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Publish.model_validate(fields)


@pytest.mark.parametrize(
    ("agent", "where", "address", "said"),
    [
        (spec(), runtime(None), GITHUB, "has no `publish`"),
        (spec(), runtime(), "git://h/r", "nothing can be pushed"),
        (spec(), runtime({"credentials_block": "b"}), "git@h:o/r", "by ssh"),
        (spec("pull_request"), runtime(), "https://git.example/o/r", "publish.forge"),
        (
            spec(credentials=[{"env": "X", "secret": "push", "key": "k"}]),
            runtime(),
            GITHUB,
            "Secret push",
        ),
        (
            spec(),
            runtime(git={"image": "g", "credentials_secret": "push"}),
            GITHUB,
            "Secret push",
        ),
        (
            spec(),
            runtime(mounts=[{"kind": "secret", "name": "push", "path": "/x"}]),
            GITHUB,
            "Secret push",
        ),
    ],
)
def test_run_that_could_not_be_published_is_refused(
    agent: AgentSpec, where: RuntimeSpec, address: str, said: str
) -> None:
    with pytest.raises(InputInvalid, match=said):
        refuse_unpublishable(agent, where, address)


@pytest.mark.parametrize("deliver", ["none", "collect"])
def test_run_that_publishes_nothing_needs_no_settings(deliver: str) -> None:
    refuse_unpublishable(spec(deliver), runtime(None), None)

    assert plan(spec(deliver)) is None


def plan(agent: AgentSpec) -> PublishPlan | None:
    return plan_publishing(
        agent,
        Publish(credentials_secret="push"),
        run_id="r-1",
        task_id="t-1",
        repo_url=GITHUB,
        repo_ref="main",
    )


def test_plan_is_read_back_from_a_job() -> None:
    made = plan(spec("pull_request", tenant_id="acme"))

    assert made is not None
    assert made == PublishPlan(
        deliver="pull_request", remote=GITHUB, branch="claude-jobs/acme/a/t-1", start_ref="main"
    )
    assert read_plan(made.model_dump_json()) == made


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{}",
        '{"deliver": "push", "remote": "https://h/r", "branch": "a..b"}',
        '{"deliver": "collect", "remote": "https://h/r", "branch": "b"}',
        "x" * 10_000,
    ],
)
def test_annotation_that_holds_no_plan_is_none(text: str | None) -> None:
    assert read_plan(text) is None
