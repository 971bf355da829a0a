"""From request, agent and runtime to everything that a run hands to its Job and Secret.

All of it is decided before anything is created, so that bad input costs nothing.
"""

import gzip
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.agent_job.environment import (
    WAKE_KEY,
    WAKE_LIMIT_BYTES,
    WAKE_REASON_KEY,
    check_plain_env,
    refuse_oversized_env,
)
from tasks.agent_job.git_clone import clones_repository
from tasks.agent_job.pod_template import refuse_run_secrets
from tasks.agent_job.publish_rules import refuse_unpublishable
from tasks.agent_job.publish_settings import PublishPlan, plan_publishing
from tasks.agent_job.run_request import AgentRunRequest
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec, WorkCheck
from tasks.claude_code.bundle import Bundle, build_bundle
from tasks.claude_code.command_line import (
    MCP_FILE,
    SETTINGS_FILE,
    build_command_line,
    render_mcp_config,
    render_settings,
)
from tasks.claude_code.prompt import Comment, Prompt, PromptTask, compose_prompt
from tasks.claude_code.template import render_template
from tasks.claude_code.tool_output_limit import TOOL_OUTPUT_LIMIT_FILE, TOOL_OUTPUT_LIMIT_SCRIPT
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import (
    KEEPER_SCRIPT_FILE,
    AgentId,
    FlowRunId,
    label_value,
    parse_agent_id,
)

RUN_SCRIPT_FILE = "run.sh"
PROMPT_FILE = "prompt"
PACKED_PROMPT_FILE = "prompt.gz"
BUNDLE_FILE = "bundle.tar.gz"
BUNDLE_HASH_FILE = "bundle.sha256"
CHECK_FILE = "check"
CHECK_ENV_FILE = "check-env"

PACKED_PROMPT_ABOVE_BYTES = 512 * 1024
# The API takes 1 MiB of data per Secret; names, the pod's UID and later fields need room.
SECRET_LIMIT_BYTES = 900 * 1024


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that can be carried out, without what only the cluster decides.

    Attributes:
        resume_session: The session that is resumed; `None` for a fresh one.
        session_note: Why a session that was asked for is not resumed, for people; else `None`.
        arguments: `claude` and its arguments, for the container's `args`.
        files: Data of the run's Secret by key, the pod's UID excepted.
        timeout_seconds: How long the agent may run, from the start of its container.
        keeper_script: Text of the script of a pod's keeper, whether or not this one has it.
        confidential_prompt: The prompt that the request only refers to.
    """

    request: AgentRunRequest
    agent: AgentSpec
    runtime: RuntimeSpec
    agent_id: AgentId
    flow_run_id: FlowRunId
    resume_session: str | None
    session_note: str | None
    prompt: Prompt = field(repr=False)
    bundle: Bundle | None = field(repr=False)
    arguments: tuple[str, ...]
    files: Mapping[str, bytes] = field(repr=False)
    timeout_seconds: int
    keeper_script: str = field(repr=False)
    confidential_prompt: str | None = field(default=None, repr=False)
    traceparent: str | None = None

    @property
    def check(self) -> WorkCheck | None:
        """The check of the agent's work: the request's, else the agent's own."""
        return self.agent.check

    @property
    def collects_work(self) -> bool:
        """Whether what the agent makes of its repository leaves the pod, which has a keeper."""
        return self.agent.deliver != "none"

    @property
    def publish_plan(self) -> PublishPlan | None:
        """Where the work is to be pushed; `None` where it is not to be."""
        workspace = self.request.workspace
        return plan_publishing(
            self.agent,
            self.runtime.publish,
            run_id=self.flow_run_id,
            task_id=self.request.task_id,
            repo_url=workspace.repo_url,
            repo_ref=workspace.repo_ref,
        )

    @property
    def working_directory(self) -> str:
        """Where the agent works in its pod."""
        git, workspace = self.runtime.git, self.request.workspace
        clone = git.tree if git and clones_repository(git, workspace) else None
        return workspace.cwd or clone or self.runtime.working_directory or self.runtime.home_path

    @property
    def system_prompt_bytes(self) -> int | None:
        """Size of the instructions that this run sends; `None` when none or a file of the pod."""
        if self.bundle is None or not self.bundle.has_instructions or self.resume_session:
            return None
        return len((self.agent.instructions or "").encode())


def prepare_run(
    request: AgentRunRequest,
    agent: AgentSpec,
    runtime: RuntimeSpec,
    *,
    flow_run_id: FlowRunId,
    run_script: str,
    keeper_script: str,
    confidential_prompt: str | None = None,
    traceparent: str | None = None,
) -> PreparedRun:
    """Return the run that a request, an agent and a runtime describe.

    Args:
        request: What is asked for.
        agent: The block's or the request's own.
        runtime: The block's.
        flow_run_id: Stands in the prompt's templates and in the agent's env.
        run_script: Text of the script that starts the agent in its pod.
        keeper_script: Text of the script that keeps the agent's work there.
        confidential_prompt: The prompt that `prompt_secret` or `prompt_block` refers to.
        traceparent: Prefect's own for the flow run, where it traces runs.

    Raises:
        InputInvalid: The run cannot be carried out as described, with code `input_invalid`,
            `prompt_too_large` or `k8s_agent_id_invalid`.
    """
    agent_id = parse_agent_id(agent.agent_id)
    agent = _as_asked(agent, request)
    _refuse_undeliverable(agent, runtime, request)
    if request.task_id is not None:
        label_value(request.task_id)
    check_plain_env(request, agent, runtime)
    refuse_oversized_env(request, agent, runtime)
    refuse_run_secrets(runtime.pod_template, agent_id)
    timeout_seconds = _timeout_seconds(request, runtime)
    resume_session, session_note = _choose_session(request, runtime)
    prompt = _compose(request, agent, flow_run_id, resume_session, confidential_prompt)
    bundle = build_bundle(agent.instructions, agent.skills)
    files = _secret_files(request, agent, prompt, bundle, run_script, keeper_script)
    _refuse_oversize(files, prompt)
    return PreparedRun(
        request=request,
        agent=agent,
        runtime=runtime,
        agent_id=agent_id,
        flow_run_id=flow_run_id,
        resume_session=resume_session,
        session_note=session_note,
        prompt=prompt,
        bundle=bundle,
        arguments=build_command_line(agent, resume_session=resume_session, bundle=bundle),
        files=files,
        timeout_seconds=timeout_seconds,
        keeper_script=keeper_script,
        confidential_prompt=confidential_prompt,
        traceparent=traceparent,
    )


def prepare_again(run: PreparedRun, request: AgentRunRequest) -> PreparedRun:
    """Return the same run for a request that has changed, such as to another session.

    Raises:
        InputInvalid: As in `prepare_run`.
    """
    return prepare_run(
        request,
        run.agent,
        run.runtime,
        flow_run_id=run.flow_run_id,
        run_script=run.files[RUN_SCRIPT_FILE].decode(),
        keeper_script=run.keeper_script,
        confidential_prompt=run.confidential_prompt,
        traceparent=run.traceparent,
    )


def template_values(
    request: AgentRunRequest, agent: AgentSpec, flow_run_id: str, resume_session: str | None
) -> dict[str, Any]:
    """Return what `{{ names }}` in an agent's templates stand for."""
    return {
        "agent": {"id": agent.agent_id, "name": agent.display_name},
        "tenant": {"id": agent.tenant_id},
        "run": {
            "id": flow_run_id,
            "session_id": resume_session,
            "resumed": resume_session is not None,
            "linked_ids": list(request.linked_ids),
        },
        "task": {"id": request.task_id},
        "wake": request.wake.model_dump(mode="json"),
        "workspace": request.workspace.model_dump(mode="json"),
        "context": request.template_variables,
    }


def _as_asked(agent: AgentSpec, request: AgentRunRequest) -> AgentSpec:
    """Return the agent with what the request says in the place of its own."""
    asked = {
        "output_schema": request.output_schema,
        "check": request.check,
        "deliver": request.deliver,
        "expect_changes": request.expect_changes,
    }
    return agent.model_copy(update={k: value for k, value in asked.items() if value is not None})


def _refuse_undeliverable(agent: AgentSpec, runtime: RuntimeSpec, request: AgentRunRequest) -> None:
    if agent.deliver != "none":
        missing = [
            *(["the runtime's `git`"] if runtime.git is None else []),
            *(["the run's `workspace.repo_url`"] if request.workspace.repo_url is None else []),
        ]
        if missing:
            raise InputInvalid(
                f"deliver is `{agent.deliver}`, but no repository is cloned from which to collect; "
                f"set {' and '.join(missing)}, or deliver to `none`."
            )
        refuse_unpublishable(agent, runtime, request.workspace.repo_url)
    elif agent.expect_changes:
        raise InputInvalid(
            "expect_changes is true, but deliver is `none`, so nobody sees what the agent changed; "
            "set deliver to `collect`, or expect_changes to false."
        )


def _timeout_seconds(request: AgentRunRequest, runtime: RuntimeSpec) -> int:
    ceiling = runtime.limits.timeout_ceiling_seconds
    if request.timeout_seconds is None:
        return ceiling
    if request.timeout_seconds > ceiling:
        raise InputInvalid(
            f"timeout_seconds is {request.timeout_seconds:,}, but the runtime allows {ceiling:,}; "
            "ask for less or raise the runtime's limits.timeout_ceiling_seconds."
        )
    return request.timeout_seconds


def _choose_session(
    request: AgentRunRequest, runtime: RuntimeSpec
) -> tuple[str | None, str | None]:
    asked = request.asked_session
    if asked is None or runtime.home_claim is not None:
        return asked, None
    return None, (
        f"Session {asked} is not resumed: the runtime has no home_claim, so sessions "
        "end with their pod; a fresh one is started."
    )


def _compose(
    request: AgentRunRequest,
    agent: AgentSpec,
    flow_run_id: str,
    resume_session: str | None,
    confidential_prompt: str | None,
) -> Prompt:
    values = template_values(request, agent, flow_run_id, resume_session)
    # Rendered even where it will not be used: a wrong name is found at the first run, not later.
    templated = render_template(agent.prompt_template, values)
    own = request.prompt if request.prompt is not None else confidential_prompt
    return compose_prompt(
        resumed=resume_session is not None,
        bootstrap=render_template(agent.bootstrap_template or "", values),
        wake_reason=request.wake.reason,
        wake_comments=[Comment(item.body, item.author) for item in request.wake.comments],
        handoff_note=request.handoff_note,
        task=PromptTask(templated if own is None else own, from_template=own is None),
    )


def _secret_files(
    request: AgentRunRequest,
    agent: AgentSpec,
    prompt: Prompt,
    bundle: Bundle | None,
    run_script: str,
    keeper_script: str,
) -> dict[str, bytes]:
    files = {RUN_SCRIPT_FILE: run_script.encode(), **_prompt_file(prompt), **_wake_files(request)}
    if bundle is not None:
        files[BUNDLE_FILE] = bundle.archive
        files[BUNDLE_HASH_FILE] = f"{bundle.sha256}\n".encode()
    if agent.mcp_servers:
        files[MCP_FILE] = render_mcp_config(agent.mcp_servers)
    if agent.tool_output_limit_bytes is not None:
        files[SETTINGS_FILE] = render_settings(agent.tool_output_limit_bytes)
        files[TOOL_OUTPUT_LIMIT_FILE] = TOOL_OUTPUT_LIMIT_SCRIPT.encode()
    if agent.check is not None:
        files |= _check_files(agent.check)
    if agent.deliver != "none":
        files[KEEPER_SCRIPT_FILE] = keeper_script.encode()
    return files


def _check_files(check: WorkCheck) -> dict[str, bytes]:
    files = {CHECK_FILE: f"{check.command}\n".encode()}
    if check.env:
        # The run script reads it as shell, whose words `shlex` quotes.
        words = [shlex.quote(f"{name}={value}") for name, value in check.env.items()]
        files[CHECK_ENV_FILE] = f"{_ENV_BEFORE}{' '.join(words)}\n".encode()
    return files


_ENV_BEFORE = "set -- env "


def values_of_check_env(content: str) -> tuple[str, ...]:
    """Return the values in a file of a check's environment, as `prepare_run` writes it."""
    try:
        words = shlex.split(content.removeprefix(_ENV_BEFORE))
    except ValueError:
        return ()
    return tuple(word.partition("=")[2] for word in words)


def _prompt_file(prompt: Prompt) -> dict[str, bytes]:
    text = prompt.text.encode()
    if len(text) <= PACKED_PROMPT_ABOVE_BYTES:
        return {PROMPT_FILE: text}
    return {PACKED_PROMPT_FILE: gzip.compress(text, mtime=0)}


def _wake_files(request: AgentRunRequest) -> dict[str, bytes]:
    wake = request.wake
    payload = json.dumps(wake.model_dump(mode="json", exclude_none=True), ensure_ascii=False)
    reason = (wake.reason or "").strip()
    texts = {
        WAKE_REASON_KEY: reason,
        WAKE_KEY: payload if reason or wake.comments else "",
    }
    # Left out above the limit, not cut: half a JSON text helps nobody, and the prompt has it all.
    return {
        key: text.encode()
        for key, text in texts.items()
        if text and "\x00" not in text and len(text.encode()) <= WAKE_LIMIT_BYTES
    }


def _refuse_oversize(files: Mapping[str, bytes], prompt: Prompt) -> None:
    size = sum(map(len, files.values()))
    if size > SECRET_LIMIT_BYTES:
        prompt_bytes = len(files.get(PROMPT_FILE) or files.get(PACKED_PROMPT_FILE) or b"")
        raise InputInvalid(
            f"The prompt has {prompt.size_bytes:,} bytes, {prompt_bytes:,} as stored; with skills, "
            f"MCP configuration and scripts the run's Secret would have {size:,} bytes of at most "
            f"{SECRET_LIMIT_BYTES:,}. Shorten it, or put large material into the workspace.",
            code=ErrorCode.PROMPT_TOO_LARGE,
        )
