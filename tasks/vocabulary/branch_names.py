"""The branches that agents' work is pushed to.

Of a valid template every branch is a valid name of a ref, whatever the ids are, and has at most 255
bytes between two slashes. It is stable. Different agents, and different tasks of an agent, never
share one, and none is a folder of another: each name stands alone between slashes, and a template
gives them all the same depth.
"""

import re
from collections.abc import Mapping
from hashlib import sha256

from tasks.vocabulary.names import slug_of

DEFAULT_BRANCH = "claude-jobs/{{ tenant.id }}/{{ agent.id }}/{{ task.id }}"
BRANCH_NAMES = ("tenant.id", "agent.id", "task.id", "run.id")

_PLACEHOLDER = re.compile(r"\{\{\s*([a-z.]+)\s*\}\}")
# As they are, so that people recognise them; all others get a hash of the exact id.
_PLAIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HASH_DIGITS = 10
_HAS_HASH = re.compile(rf"(.*-)?[0-9a-f]{{{_HASH_DIGITS}}}")
# What stands for an id that a run does not have; no id is written so.
_NO_TENANT = "no-tenant"
_OF_RUN = "run-"
_PART_LIMIT = 40
# git-check-ref-format(1); space and DEL among the controls.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{")
_LONGEST_PART_BYTES = 255


def branch_problem(template: str) -> str | None:
    """Return what is wrong with a template for branches, to follow its name; `None` if nothing."""
    names: list[str] = []
    for part in template.split("/"):
        found = _PLACEHOLDER.findall(part)
        if found and not _PLACEHOLDER.fullmatch(part):
            return "has a name in braces that is not alone between two slashes"
        names += found
    unknown = [name for name in names if name not in BRANCH_NAMES]
    if unknown:
        return f"has unknown names: {', '.join(unknown)}; known are {', '.join(BRANCH_NAMES)}"
    if "agent.id" not in names or not {"task.id", "run.id"} & set(names):
        return (
            "needs agent.id, and task.id or run.id, so that no two agents or tasks share a branch"
        )
    if not is_branch_name(_PLACEHOLDER.sub("x", template)):
        return "does not make a valid name of a branch"
    return None


def is_branch_name(text: str) -> bool:
    """Tell whether Git takes this as the name of a branch.

    Source:
        git-check-ref-format(1), with `--branch`.
    """
    if not text or text == "HEAD" or text.startswith("-") or text.endswith("."):
        return False
    if _FORBIDDEN.search(text):
        return False
    try:
        parts = [(part, len(part.encode())) for part in text.split("/")]
    except UnicodeEncodeError:
        return False
    return all(
        part
        and not part.startswith(".")
        and not part.endswith(".lock")
        and size <= _LONGEST_PART_BYTES
        for part, size in parts
    )


def make_branch(
    template: str, *, agent_id: str, run_id: str, tenant_id: str | None, task_id: str | None
) -> str:
    """Return the branch of a run.

    Args:
        template: One that has no `branch_problem`.
        agent_id: The agent.
        run_id: The flow run; it takes the place of a task where the run has none.
        tenant_id: The agent's tenant, if it has one.
        task_id: The run's task, if it has one.
    """
    run = _part(run_id)
    parts = {
        "tenant.id": _NO_TENANT if tenant_id is None else _part(tenant_id),
        "agent.id": _part(agent_id),
        "task.id": f"{_OF_RUN}{run}" if task_id is None else _part(task_id),
        "run.id": run,
    }
    return fill_branch(template, parts)


def fill_branch(template: str, parts: Mapping[str, str]) -> str:
    """Return a template with these parts in the place of its names."""
    return _PLACEHOLDER.sub(lambda found: parts[found[1]], template)


def _part(text: str) -> str:
    is_plain = (
        len(text) <= _PART_LIMIT
        and _PLAIN.fullmatch(text)
        and text != _NO_TENANT
        and not text.startswith(_OF_RUN)
        and not _HAS_HASH.fullmatch(text)
    )
    if is_plain:
        return text
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    slug = slug_of(text, _PART_LIMIT)
    return f"{slug}-{digest}" if slug else digest
