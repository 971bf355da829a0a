import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.vocabulary.branch_names import (
    DEFAULT_BRANCH,
    branch_problem,
    is_branch_name,
    make_branch,
)

RUN = "0c1ae5b2-4a39-4b3d-9a53-6d9a0f9f6c11"
# Ids such as people write, and any text at all; few letters, so that some nearly collide.
IDS = st.one_of(st.text(max_size=60), st.text("aA-._/~ é@{", max_size=50)).filter(bool)


def branch(agent: str, task: str | None, tenant: str | None = None, run: str = RUN) -> str:
    return make_branch(DEFAULT_BRANCH, agent_id=agent, run_id=run, tenant_id=tenant, task_id=task)


def git_takes(name: str) -> bool:
    done = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True)
    return done.returncode == 0


@pytest.mark.parametrize(
    ("agent", "task", "tenant", "expected"),
    [
        ("reviewer", "t-1", "acme", "claude-jobs/acme/reviewer/t-1"),
        ("reviewer", "t-1", None, "claude-jobs/no-tenant/reviewer/t-1"),
        ("reviewer", None, "acme", f"claude-jobs/acme/reviewer/run-{RUN}"),
        ("Reviewer", "t-1", None, "claude-jobs/no-tenant/reviewer-d29f46772c/t-1"),
    ],
)
def test_branch_shows_the_ids(
    agent: str, task: str | None, tenant: str | None, expected: str
) -> None:
    assert branch(agent, task, tenant) == expected


@settings(max_examples=40)
@given(agent=IDS, task=st.none() | IDS, tenant=st.none() | IDS)
def test_branch_is_a_name_that_git_takes(agent: str, task: str | None, tenant: str | None) -> None:
    name = branch(agent, task, tenant)

    assert is_branch_name(name)
    assert git_takes(name)


@given(first=st.tuples(IDS, IDS, st.none() | IDS), second=st.tuples(IDS, IDS, st.none() | IDS))
def test_different_agents_and_tasks_share_no_branch(
    first: tuple[str, str, str | None], second: tuple[str, str, str | None]
) -> None:
    one, other = branch(*first), branch(*second)

    assert (one == other) == (first == second)
    assert not other.startswith(f"{one}/")


@pytest.mark.parametrize("id_", ["no-tenant", "run-1", "a-0123456789", "0123456789", "Å", "a b"])
def test_id_that_looks_like_a_made_one_gets_a_hash(id_: str) -> None:
    assert branch("a", id_, id_).split("/")[1] != id_
    assert branch("a", id_, id_).split("/")[3] != id_


@settings(max_examples=80)
@given(st.text("aZ0-._/~^: @{}[?*\\\x7fé", min_size=1, max_size=8))
def test_names_are_judged_as_git_judges_them(name: str) -> None:
    # Of `@{-1}` and the like Git says where they lead.
    if name.startswith("@"):
        name = f"a{name}"

    assert is_branch_name(name) == git_takes(name)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (DEFAULT_BRANCH, None),
        ("bots/{{agent.id}}/{{run.id}}", None),
        ("main", "needs agent.id"),
        ("x/{{ agent.id }}", "needs agent.id"),
        ("x/{{ agent.id }}-{{ task.id }}", "not alone"),
        ("{{ agent.id }}/{{ task.id }}/{{ work.id }}", "unknown names: work.id"),
        ("/{{ agent.id }}/{{ task.id }}", "valid name"),
        ("a..b/{{ agent.id }}/{{ task.id }}", "valid name"),
    ],
)
def test_template_that_could_make_collisions_is_named(template: str, problem: str | None) -> None:
    found = branch_problem(template)

    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")
