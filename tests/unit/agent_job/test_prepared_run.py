import gzip
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.agent_job.prepared_run import SECRET_LIMIT_BYTES, prepare_again, values_of_check_env
from tasks.claude_code.agent_spec import WorkCheck
from tasks.outcome.result_building import session_parameters
from tasks.outcome.run_result import SessionParameters
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid
from tests.unit.agent_job.run_inputs import FLOW_RUN_ID, KEEPER_SCRIPT, RUN_SCRIPT, make_run

SKILL = {"name": "review", "files": {"SKILL.md": "Look."}}


def test_run_that_says_nothing_gets_the_agents_template() -> None:
    run = make_run()

    assert run.prompt.text == "You are the agent Ada. Go on with your work."
    assert run.files == {"run.sh": RUN_SCRIPT.encode(), "prompt": run.prompt.text.encode()}
    assert run.timeout_seconds == 86_400
    assert (run.resume_session, run.session_note, run.bundle) == (None, None, None)


def test_templates_know_the_whole_run() -> None:
    names = [
        *("agent.id", "agent.name", "tenant.id", "run.id", "run.session_id", "run.resumed"),
        *("run.linked_ids", "task.id", "wake.reason", "wake.comments", "workspace.cwd"),
        *("workspace.id", "workspace.repo_url", "workspace.repo_ref", "workspace.branch"),
        "context.branch",
    ]
    request = {
        "task_id": "T-1",
        "linked_ids": ["L-1"],
        "wake": {"reason": "mention", "comments": [{"body": "hi", "author": "Ann"}]},
        "workspace": {"cwd": "/w", "id": "w-1", "repo_url": "u", "repo_ref": "r", "branch": "b"},
        "template_variables": {"branch": {"a": 1}},
    }
    template = "|".join(f"{{{{ {name} }}}}" for name in names)

    run = make_run(request, {"prompt_template": template, "tenant_id": "co1"})

    comments = '[{"body":"hi","author":"Ann","id":null}]'
    assert run.prompt.task == (
        f'agent-abc|Ada|co1|{FLOW_RUN_ID}||false|["L-1"]|T-1|mention|{comments}'
        '|/w|w-1|u|r|b|{"a":1}'
    )


def test_prompt_of_the_run_stays_literal() -> None:
    assert make_run({"prompt": "{{ jinja }} {% x %}"}).prompt.text == "{{ jinja }} {% x %}"


def test_confidential_prompt_is_sent_instead_of_the_template() -> None:
    request = {"prompt_secret": {"secret": "s", "key": "k"}}

    assert make_run(request, confidential_prompt="Hush.").prompt.text == "Hush."


def test_confidential_prompt_is_not_shown_with_the_run() -> None:
    request = {"prompt_block": "b"}

    assert "Hush." not in repr(make_run(request, confidential_prompt="Hush."))


def test_check_of_the_request_takes_the_place_of_the_agents() -> None:
    ours = {"command": "make ours", "env": {"A": "1"}}
    theirs = {"command": "make theirs", "timeout_seconds": 5}

    both = make_run({"check": ours}, {"check": theirs})
    again = prepare_again(both, both.request.model_copy(update={"session_id": "s-1"}))

    assert make_run().check is None
    assert make_run(agent={"check": theirs}).check == WorkCheck.model_validate(theirs)
    assert both.check == again.check == WorkCheck.model_validate({**ours, "timeout_seconds": 600})


CLONED = {"workspace": {"repo_url": "u"}}
CLONING = {"git": {"image": "git:1"}}
COLLECT = {"deliver": "collect"}
NONE = {"deliver": "none"}
EXPECT = {"expect_changes": True}


@pytest.mark.parametrize(
    ("asked", "own", "collects", "expects"),
    [
        pytest.param({}, {}, False, False, id="nobody"),
        pytest.param(COLLECT, {}, True, False, id="request"),
        pytest.param({}, {**COLLECT, **EXPECT}, True, True, id="agent"),
        pytest.param(
            {**NONE, "expect_changes": False}, {**COLLECT, **EXPECT}, False, False, id="not now"
        ),
        pytest.param(COLLECT, EXPECT, True, True, id="both"),
        pytest.param(
            {"expect_changes": False}, {**COLLECT, **EXPECT}, True, False, id="may do nothing"
        ),
    ],
)
def test_delivery_of_the_request_takes_the_place_of_the_agents(
    asked: dict[str, Any], own: dict[str, Any], collects: bool, expects: bool
) -> None:
    run = make_run({**CLONED, **asked}, own, CLONING)
    again = prepare_again(run, run.request.model_copy(update={"session_id": "s-1"}))

    for found in (run, again):
        assert (found.collects_work, found.agent.expect_changes) == (collects, expects)
        script = found.files.get("keeper.sh")
        assert script == (KEEPER_SCRIPT.encode() if collects else None)


def test_keepers_script_is_kept_for_a_request_that_asks_for_it_later() -> None:
    run = make_run(CLONED, {}, CLONING)
    asked = run.request.model_copy(update=COLLECT)

    assert prepare_again(run, asked).files["keeper.sh"] == KEEPER_SCRIPT.encode()


@pytest.mark.parametrize(
    ("asked", "runtime", "problem"),
    [
        (
            EXPECT | CLONED,
            CLONING,
            "expect_changes is true, but deliver is `none`, so nobody sees what the agent changed; "
            "set deliver to `collect`, or expect_changes to false.",
        ),
        (
            COLLECT,
            CLONING,
            "deliver is `collect`, but no repository is cloned from which to collect; set the "
            "run's `workspace.repo_url`, or deliver to `none`.",
        ),
        (
            COLLECT | CLONED,
            {},
            "deliver is `collect`, but no repository is cloned from which to collect; set the "
            "runtime's `git`, or deliver to `none`.",
        ),
        (
            COLLECT | EXPECT,
            {},
            "deliver is `collect`, but no repository is cloned from which to collect; set the "
            "runtime's `git` and the run's `workspace.repo_url`, or deliver to `none`.",
        ),
    ],
)
def test_delivery_that_cannot_be_is_refused_with_what_to_do(
    asked: dict[str, Any], runtime: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputInvalid) as refusal:
        make_run(asked, runtime=runtime)

    assert (refusal.value.code, refusal.value.message) == (ErrorCode.INPUT_INVALID, problem)


@pytest.mark.parametrize(
    "fields", [{"deliver": "push"}, {"deliver": True}, {"expect_changes": "x"}]
)
@pytest.mark.parametrize("asked_by", ["request", "agent"])
def test_delivery_that_is_none_is_refused(fields: dict[str, Any], asked_by: str) -> None:
    request, agent = (fields, {}) if asked_by == "request" else ({}, fields)

    with pytest.raises((InputInvalid, ValidationError), match=r"deliver|expect_changes"):
        make_run(request, agent)


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"CLAUDE_JOBS_X": "1"}, "CLAUDE_JOBS_X in the check's env is set by the run itself"),
        ({"HOME": "/"}, "HOME in the check's env cannot be set"),
        ({"GITHUB_TOKEN": "t"}, "GITHUB_TOKEN in the check's env is a credential"),
    ],
)
def test_env_of_a_check_is_refused_like_any_other(env: dict[str, str], problem: str) -> None:
    with pytest.raises(InputInvalid, match=problem) as refused:
        make_run(agent={"check": {"command": "true", "env": env}})

    assert refused.value.code is ErrorCode.INPUT_INVALID


@pytest.mark.parametrize(
    "check",
    [
        {},
        {"command": ""},
        {"command": " \n"},
        {"command": "x" * 65_537},
        {"command": "漢" * 22_000},
        {"command": "true", "timeout_seconds": 0},
        {"command": "true", "timeout_seconds": 86_401},
        {"command": "true", "env": {"A": "x" * 65_537}},
        {"command": "true", "env": {"1A": "x"}},
        {"command": "true", "env": {"A=B": "x"}},
        {"command": "true", "shell": "bash"},
        "true",
    ],
)
@pytest.mark.parametrize("asked_by", ["request", "agent"])
def test_check_that_cannot_be_carried_out_is_refused(check: Any, asked_by: str) -> None:
    request, agent = ({"check": check}, {}) if asked_by == "request" else ({}, {"check": check})

    with pytest.raises((InputInvalid, ValidationError), match=r"check|command|env"):
        make_run(request, agent)


def test_largest_check_is_taken() -> None:
    check = {"command": "x" * 65_536, "timeout_seconds": 86_400, "env": {"A": "x" * 65_534}}

    assert len(make_run({"check": check}).files["check"]) == 65_537


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(st.dictionaries(st.sampled_from(["A", "B_1", "_c"]), VALUES))
def test_values_of_a_checks_env_are_read_back_from_its_file(env: dict[str, str]) -> None:
    run = make_run({"check": {"command": "true", "env": env}})

    written = run.files.get("check-env", b"").decode()
    assert values_of_check_env(written) == tuple(env.values())


@pytest.mark.parametrize("content", ["", "set -- env 'A=", "echo hello", "set -- env A"])
def test_file_that_is_no_env_of_a_check_has_no_values_to_mask(content: str) -> None:
    assert not any(values_of_check_env(content))


def test_env_of_a_check_is_not_shown_with_the_run() -> None:
    assert "hush" not in repr(make_run({"check": {"command": "true", "env": {"A": "hush"}}}))


def test_run_is_prepared_again_for_another_session() -> None:
    runtime = {"home_claim": "homes"}
    run = make_run({"prompt_block": "b"}, runtime=runtime, confidential_prompt="Hush.")

    again = prepare_again(run, run.request.model_copy(update={"session_id": "s-1"}))

    assert again == make_run(
        {"prompt_block": "b", "session_id": "s-1"}, runtime=runtime, confidential_prompt="Hush."
    )


def test_agent_with_a_bootstrap_template_alone_is_told_it_in_a_remembered_session_too() -> None:
    agent = {"prompt_template": "", "bootstrap_template": "Look after {{ agent.name }}'s inbox."}
    first = make_run(agent=agent, runtime={"home_claim": "homes"})

    # As the guard does it with the session that is noted for the task.
    second = prepare_again(first, first.request.model_copy(update={"session_id": "s-1"}))

    assert second.resume_session == "s-1"
    assert second.prompt.text == first.prompt.text == "Look after Ada's inbox."


@pytest.mark.parametrize("session_id", [None, "s-1"])
def test_agent_that_never_says_anything_is_refused_at_its_first_wake(
    session_id: str | None,
) -> None:
    agent = {"prompt_template": " ", "bootstrap_template": "\n"}

    with pytest.raises(InputInvalid, match="The prompt is empty"):
        make_run({"session_id": session_id}, agent, {"home_claim": "homes"})


@pytest.mark.parametrize(
    ("request_fields", "agent", "runtime", "code", "expected"),
    [
        pytest.param(
            {}, {"agent_id": "@@@"}, {}, ErrorCode.AGENT_ID_INVALID, "'@@@'", id="agent_id"
        ),
        pytest.param({"task_id": "—"}, {}, {}, ErrorCode.AGENT_ID_INVALID, "'—'", id="task_id"),
        pytest.param(
            {},
            {"prompt_template": "{{ nobody }}"},
            {},
            ErrorCode.INPUT_INVALID,
            "nobody",
            id="name",
        ),
        pytest.param(
            {"prompt": "x"},
            {"bootstrap_template": "{{ nobody }}"},
            {},
            ErrorCode.INPUT_INVALID,
            "nobody",
            id="bootstrap_name",
        ),
        pytest.param(
            {}, {"prompt_template": " "}, {}, ErrorCode.INPUT_INVALID, "is empty", id="empty_prompt"
        ),
        pytest.param(
            {"timeout_seconds": 7200},
            {},
            {"limits": {"timeout_ceiling_seconds": 3600}},
            ErrorCode.INPUT_INVALID,
            "timeout_seconds is 7,200, but the runtime allows 3,600",
            id="timeout",
        ),
        pytest.param(
            {},
            {"instructions": "x" * (17 << 20)},
            {},
            ErrorCode.INPUT_INVALID,
            "too large to travel",
            id="bundle",
        ),
        pytest.param(
            {"env": {"HOME": "tell-nobody", "CLAUDE_JOBS_X": "1", "GH_TOKEN": "tell-nobody"}},
            {},
            {},
            ErrorCode.INPUT_INVALID,
            "HOME in the run's env cannot be set, the runtime's home_path says it; "
            "CLAUDE_JOBS_X in the run's env is set by the run itself; "
            "GH_TOKEN in the run's env is a credential; "
            "name a Secret in the agent's credentials",
            id="env",
        ),
        pytest.param(
            {},
            {
                "env": {"MY_KEY": "tell-nobody"},
                "credentials": [{"env": "MY_KEY", "secret": "s", "key": "k"}],
            },
            {},
            ErrorCode.INPUT_INVALID,
            "MY_KEY in the agent's env is a credential",
            id="credential_twice",
        ),
        pytest.param(
            {},
            {},
            {
                "env_from_keys": [
                    {"env": "CLAUDE_CONFIG_DIR", "kind": "secret", "name": "s", "key": "k"}
                ]
            },
            ErrorCode.INPUT_INVALID,
            "CLAUDE_CONFIG_DIR in the runtime's env_from_keys cannot be set",
            id="key",
        ),
    ],
)
def test_run_that_cannot_be_carried_out_is_refused(
    request_fields: dict[str, Any],
    agent: dict[str, Any],
    runtime: dict[str, Any],
    code: ErrorCode,
    expected: str,
) -> None:
    with pytest.raises(InputInvalid) as refusal:
        make_run(request_fields, agent, runtime)

    assert refusal.value.code is code
    assert expected in refusal.value.message
    assert "tell-nobody" not in refusal.value.message


def test_session_is_resumed_where_homes_outlive_their_pod() -> None:
    run = make_run({"session_id": "s-1"}, runtime={"home_claim": "homes"})

    assert (run.resume_session, run.session_note) == ("s-1", None)
    assert run.arguments[5:7] == ("--resume", "s-1")


def test_session_is_not_resumed_without_a_claim_and_the_run_says_so() -> None:
    run = make_run({"session_id": "s-1"}, {"instructions": "Be nice."})

    assert run.resume_session is None
    assert run.session_note == (
        "Session s-1 is not resumed: the runtime has no home_claim, so sessions end with their "
        "pod; a fresh one is started."
    )
    assert "--append-system-prompt-file" in run.arguments


@pytest.mark.parametrize(
    ("size", "key"),
    [
        pytest.param(512 * 1024, "prompt", id="plain"),
        pytest.param(512 * 1024 + 1, "prompt.gz", id="packed"),
    ],
)
def test_prompt_is_packed_above_its_limit(size: int, key: str) -> None:
    files = make_run({"prompt": "x" * size}).files

    assert set(files) == {"run.sh", key}
    text = gzip.decompress(files[key]) if key == "prompt.gz" else files[key]
    assert text == b"x" * size


def test_prompt_limit_counts_bytes() -> None:
    assert "prompt.gz" in make_run({"prompt": "é" * (256 * 1024 + 1)}).files


def test_prompt_that_no_secret_can_hold_is_refused_with_its_size() -> None:
    noise = random.Random(3).randbytes(900 * 1024).hex()

    with pytest.raises(InputInvalid) as refusal:
        make_run({"prompt": noise})

    assert refusal.value.code is ErrorCode.PROMPT_TOO_LARGE
    assert "1,843,200 bytes" in refusal.value.message
    assert f"{SECRET_LIMIT_BYTES:,}" in refusal.value.message


def test_wake_content_travels_in_the_secret() -> None:
    run = make_run({"wake": {"reason": " mention ", "comments": [{"body": "hi"}]}})

    assert run.files["wake-reason"] == b"mention"
    assert json.loads(run.files["wake.json"]) == {
        "reason": " mention ",
        "comments": [{"body": "hi"}],
    }


def test_wake_content_that_no_env_can_hold_is_in_the_prompt_alone() -> None:
    run = make_run({"wake": {"reason": "x", "comments": [{"body": "y" * 130_000}]}})

    assert set(run.files) == {"run.sh", "prompt", "wake-reason"}
    assert "y" * 130_000 in run.prompt.text


def test_configuration_travels_in_the_secret() -> None:
    run = make_run(
        agent={
            "instructions": "Be nice.",
            "skills": [SKILL],
            "mcp_servers": {"m": {"command": "x"}},
            "tool_output_limit_bytes": 50_000,
        }
    )

    assert run.bundle is not None
    assert set(run.files) == {
        *("run.sh", "prompt", "bundle.tar.gz", "bundle.sha256"),
        *("mcp.json", "settings.json", "limit-tool-output.sh"),
    }
    assert run.files["bundle.sha256"].decode().strip() == run.bundle.sha256
    assert json.loads(run.files["mcp.json"]) == {"mcpServers": {"m": {"command": "x"}}}
    (hook,) = json.loads(run.files["settings.json"])["hooks"]["PostToolUse"]
    assert hook["hooks"][0]["command"] == 'sh "$CLAUDE_JOBS_INPUT_DIR/limit-tool-output.sh" 50000'


@pytest.mark.parametrize(
    ("request_fields", "agent", "expected"),
    [
        pytest.param({}, {}, None, id="none"),
        pytest.param({}, {"skills": [SKILL]}, None, id="skills_only"),
        pytest.param({}, {"instructions": "é"}, 2, id="fresh"),
        pytest.param({"session_id": "s"}, {"instructions": "é"}, None, id="resumed"),
    ],
)
def test_system_prompt_size_is_what_this_run_sends(
    request_fields: dict[str, Any], agent: dict[str, Any], expected: int | None
) -> None:
    run = make_run(request_fields, agent, {"home_claim": "homes"})

    assert run.system_prompt_bytes == expected


@pytest.mark.parametrize(
    ("workspace", "runtime", "expected"),
    [
        pytest.param({}, {}, "/home/agent", id="home"),
        pytest.param({}, {"working_directory": "/srv"}, "/srv", id="runtime"),
        pytest.param({"cwd": "/w"}, {"working_directory": "/srv"}, "/w", id="run"),
    ],
)
def test_working_directory(
    workspace: dict[str, Any], runtime: dict[str, Any], expected: str
) -> None:
    run = make_run({"workspace": {"repo_url": "u", **workspace}}, {"skills": [SKILL]}, runtime)

    assert run.working_directory == expected
    assert run.bundle is not None
    assert session_parameters(run) == SessionParameters(
        cwd=expected, repo_url="u", bundle_sha256=run.bundle.sha256
    )
    assert session_parameters(make_run()).bundle_sha256 is None


BIG = "y" * 200_000
# `A=`, the value, and the byte after it.
LARGEST = "y" * (131_072 - 3)


def _container(name: str, **env: str) -> dict[str, Any]:
    return {"name": name, "env": [{"name": key, "value": value} for key, value in env.items()]}


@pytest.mark.parametrize(
    ("request_fields", "agent", "runtime", "told"),
    [
        ({"env": {"BIG": BIG}}, {}, {}, "BIG in the run's env has 200,005 bytes"),
        ({"env": {"A": f"{LARGEST}y"}}, {}, {}, "A in the run's env has 131,073 bytes"),
        ({"env": {"A": "é" * 65_535}}, {}, {}, "A in the run's env has 131,073 bytes"),
        ({}, {"env": {"BIG": BIG}}, {}, "BIG in the agent's env"),
        ({}, {}, {"env": {"BIG": BIG}}, "BIG in the runtime's env"),
        (
            {},
            {},
            {"git": {"image": "git:1", "env": {"BIG": BIG}}},
            "BIG in the runtime's git.env",
        ),
        (
            {},
            {},
            {"pod_template": {"spec": {"containers": [_container("agent", BIG=BIG)]}}},
            "BIG in container agent of the runtime's pod_template",
        ),
        (
            {},
            {},
            {"pod_template": {"spec": {"initContainers": [_container("wait", BIG=BIG)]}}},
            "BIG in container wait of the runtime's pod_template",
        ),
        (
            {"linked_ids": ["y" * 256] * 600},
            {},
            {},
            "CLAUDE_JOBS_LINKED_IDS in the run's linked_ids has 154,223 bytes",
        ),
        (
            {"env": {"OTEL_RESOURCE_ATTRIBUTES": "y" * 130_000}},
            {},
            {},
            "OTEL_RESOURCE_ATTRIBUTES in the run's env",
        ),
    ],
)
def test_variable_with_which_nothing_could_be_started_is_refused_by_name(
    request_fields: dict[str, Any], agent: dict[str, Any], runtime: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputInvalid) as refusal:
        make_run(request_fields, agent, runtime)

    assert told in str(refusal.value)
    assert "more than 131,072 bytes" in str(refusal.value)
    assert "yyy" not in str(refusal.value)
    assert refusal.value.code is ErrorCode.INPUT_INVALID


def test_largest_variable_that_linux_takes_is_taken() -> None:
    assert make_run({"env": {"A": LARGEST}}).request.env == {"A": LARGEST}
