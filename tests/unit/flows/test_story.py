import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "flows" / "run_agent.py"
LONGEST_PAGE_LINES = 175

# In the order in which a run that goes well meets them.
IN_ORDER = [
    "guard_agent",
    "create_agent_job",
    "commit_agent_job",
    "create_run_secret",
    "wait_for_pod",
    "stream_logs",
    "await_completion",
    "publish_work",
    "conclude_run",
    "publish_report",
    "clean_up",
]


def _functions(path: Path) -> list[ast.AsyncFunctionDef]:
    return [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.AsyncFunctionDef)]


def _is_stage(function: ast.AsyncFunctionDef) -> bool:
    calls = [d.func for d in function.decorator_list if isinstance(d, ast.Call)]
    return any(isinstance(call, ast.Name) and call.id == "stage" for call in calls)


STAGES = [
    function.name
    for path in sorted((ROOT / "tasks").glob("*.py"))
    for function in _functions(path)
    if _is_stage(function)
]


# The function on the page that calls the stage, and its module.
CALLED_BY = {
    # The answer decides what the run finds; the page goes on from there.
    "has_same_prompt": ("conclude_earlier_runs", "flows/run/earlier_runs.py"),
    # How an agent is ended is the same wherever a wait gives it up.
    "stop_agent": ("await_completion", "tasks/completion.py"),
}


def _called(path: Path) -> set[str]:
    calls = (n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
    return {called.id for called in calls if isinstance(called, ast.Name)}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in CALLED_BY])
def test_stage_is_called_on_the_page(stage: str) -> None:
    assert stage in _called(PAGE)


@pytest.mark.parametrize("stage", CALLED_BY)
def test_stage_that_is_not_on_the_page_is_called_by_a_function_that_is(stage: str) -> None:
    helper, module = CALLED_BY[stage]

    assert stage in STAGES
    assert stage not in _called(PAGE)
    assert helper in _called(PAGE)
    assert helper in {function.name for function in _functions(ROOT / module)}
    assert stage in _called(ROOT / module)


def test_stages_stand_in_the_order_of_a_run() -> None:
    calls = [
        node.func.id
        for function in _functions(PAGE)
        for node in _calls_in_order(function)
        if isinstance(node.func, ast.Name)
    ]

    assert [name for name in dict.fromkeys(calls) if name in IN_ORDER] == IN_ORDER
    assert set(IN_ORDER) <= set(STAGES)


def _calls_in_order(function: ast.AsyncFunctionDef) -> list[ast.Call]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return sorted(calls, key=lambda call: (call.lineno, call.col_offset))


def test_stages_are_at_most_two_calls_from_the_flow() -> None:
    called = {
        function.name: {
            c.func.id for c in _calls_in_order(function) if isinstance(c.func, ast.Name)
        }
        for function in _functions(PAGE)
    }
    flow = called["run_agent"]
    near = flow | {name for helper in flow & set(called) for name in called[helper]}

    assert set(IN_ORDER) <= near


def test_page_is_a_page() -> None:
    assert len(PAGE.read_text().splitlines()) <= LONGEST_PAGE_LINES
