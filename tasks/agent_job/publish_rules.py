"""Refuses what could not be published, before its agent has cost anything."""

from tasks.agent_job.environment import mounted_secrets, secret_references
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.claude_code.template import render_template
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.git_remotes import find_forge, parse_remote

TEXT_NAMES = {
    "agent": {"id": "", "name": ""},
    "tenant": {"id": ""},
    "run": {"id": "", "link": ""},
    "task": {"id": "", "name": ""},
    "work": {"branch": "", "commit": "", "commits": 0, "files_changed": 0, "changes": ""},
    "answer": "",
}
"""What the templates of a pull request may name."""


def refuse_unpublishable(agent: AgentSpec, runtime: RuntimeSpec, repo_url: str | None) -> None:
    """Refuse a run whose work is to be pushed and could not be.

    Raises:
        InputInvalid: Says what to set.
    """
    if agent.deliver not in {"push", "pull_request"}:
        return
    publish = runtime.publish
    if publish is None:
        raise InputInvalid(
            f"deliver is `{agent.deliver}`, but the runtime has no `publish`, which says with what "
            "credentials; set it, or deliver to `collect`."
        )
    remote = parse_remote(repo_url or "")
    if remote is None:
        raise InputInvalid(
            f"deliver is `{agent.deliver}`, but nothing can be pushed to workspace.repo_url; use "
            "an address with https or ssh, without credentials."
        )
    if remote.is_ssh and publish.credentials_block is not None:
        raise InputInvalid(
            "The repository is reached by ssh, but publish.credentials_block holds a token; name a "
            "Secret with key and known hosts in publish.credentials_secret."
        )
    if agent.deliver == "pull_request":
        forge = find_forge(remote, publish.forge, publish.api_url)
        if forge is None:
            raise InputInvalid(
                f"deliver is `pull_request`, but what serves {remote.host} is not known, or "
                "workspace.repo_url is not the address of a project there; set publish.forge, and "
                "publish.api_url if its API is elsewhere."
            )
    for template in (publish.title, publish.body):
        render_template(template or "", TEXT_NAMES)
    _refuse_shared_secret(agent, runtime, publish.credentials_secret)


def _refuse_shared_secret(agent: AgentSpec, runtime: RuntimeSpec, name: str | None) -> None:
    in_pod = {*secret_references(agent, runtime), *mounted_secrets(runtime)}
    if name is not None and name in in_pod:
        raise InputInvalid(
            f"Secret {name} of publish.credentials_secret is also used in the agent's pod, where "
            "no credential for pushing may be; give publishing a Secret of its own."
        )
