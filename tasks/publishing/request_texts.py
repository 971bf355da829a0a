"""Title and text of a pull request; bounded, and the agent's own words are quoted as code.

In a block of code nobody is mentioned, no issue is closed and no link or image is shown.
"""

from typing import Any

from tasks.agent_job.prepared_run import PreparedRun
from tasks.agent_job.publish_settings import Publish, PublishPlan
from tasks.claude_code.template import render_template
from tasks.outcome.run_result import WorkResult
from tasks.publishing.pull_requests import MARK, RequestText
from tasks.text.markdown import code_span, quote_code
from tasks.text.redaction import Redactor
from tasks.text.safe_text import cut_text, escape_control_characters, one_line

_TITLE_CHARACTERS = 200
_ANSWER_CHARACTERS = 8_000
# GitHub takes 65,536 characters.
_BODY_CHARACTERS = 60_000

_TITLE = "{{ agent.name }}: {{ task.name }}"
_BODY = """\
The agent {{ agent.name }} made this in {{ task.name }}: {{ work.changes }}.

[Report of the run]({{ run.link }})

What the agent answered:

{{ answer }}
"""


def request_text(
    prepared: PreparedRun,
    publish: Publish,
    plan: PublishPlan,
    work: WorkResult,
    *,
    task_id: str | None,
    run_link: str,
    answer: str | None,
    redactor: Redactor,
) -> RequestText:
    """Return what a pull request says.

    Args:
        prepared: The run.
        publish: With the templates, if there are any.
        plan: With the branch.
        work: What is published.
        task_id: What the agent worked on, which is another task than the run's for an earlier Job.
        run_link: Leads to the run's page, with its report.
        answer: What the agent answered; `None` if it is not known.
        redactor: Knows the secrets.

    Raises:
        InputInvalid: A template has a name that is not known.
    """
    safe = escape_control_characters(redactor.text(answer or ""))
    agent = prepared.agent
    values: dict[str, Any] = {
        "agent": {"id": agent.agent_id, "name": agent.display_name},
        "tenant": {"id": agent.tenant_id},
        "run": {"id": prepared.flow_run_id, "link": run_link},
        "task": {
            "id": task_id,
            "name": f"task {task_id}" if task_id else f"run {prepared.flow_run_id}",
        },
        "work": {
            "branch": plan.branch,
            "commit": work.work_commit,
            "commits": work.commits,
            "files_changed": work.files_changed,
            "changes": work.changes or "its size is not known",
        },
        "answer": quote_code(cut_text(safe, _ANSWER_CHARACTERS)) if safe.strip() else "(nothing)",
    }
    title = render_template(publish.title or _TITLE, values)
    if publish.body is None:
        values = _as_code(values)
    body = redactor.text(render_template(publish.body or _BODY, values))
    return RequestText(
        one_line(redactor.text(title), _TITLE_CHARACTERS) or plan.branch,
        f"{cut_text(body, _BODY_CHARACTERS)}\n\n{MARK}\n",
    )


def _as_code(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with names as code, which mentions nobody."""
    named = {
        key: {**values[key], "name": code_span(values[key]["name"])} for key in ("agent", "task")
    }
    return {**values, **named}
