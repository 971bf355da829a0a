"""The house rules that no linter knows."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CODE_FOLDERS = ("bench", "blocks", "flows", "tasks", "deployments")
TEST_COMMAND = (
    '.uv/bin/uv run pytest -n 4 --dist loadfile -m "not cluster and not long and not slice"'
)
LONGEST_MODULE_LINES = 400
MOST_MODULES = 20
SHORTEST_MODULE_LINES = 50
# Each a boundary worth a name, and why.
SHORT_MODULES = {
    "blocks/claude_agent.py": "a block of its own; its fields are the agent's spec",
    "flows/cli/deployed_image.py": "what a file of Prefect's calls when the flows are deployed",
    "flows/cli/request_file.py": "the one place where the command line reads JSON from outside",
    "flows/run/naming.py": "the one place where a run is given its name and tags",
    "flows/run/beside.py": "the one way in which tasks run beside a block and end with it",
    "flows/run/verdicts.py": "the one place where a verdict leaves the run",
    "tasks/agent_job/quantities.py": "read by the settings of a pod and by what is built from them",
    "tasks/cluster/server_clock.py": "the one clock by which Leases are judged",
    "tasks/outcome/proven_end.py": "the one rule on which a run does not wait for its Job",
    "tasks/orchestrator/flow_run_names.py": "the one write of names and tags to Prefect",
    "tasks/orchestrator/run_events.py": "the one place where Prefect events leave",
    "tasks/run/budget_check.py": "between the budget's rule and the records that it reads",
    "tasks/run/found.py": "what the guard hands to the stages after it",
    "tasks/storage/stored_sessions.py": "the one read and write of a remembered session",
    "tasks/sweep/sweep_lists.py": "the one read of a sweep; what it finds is joined without I/O",
    "tasks/work/checkpoint_announcements.py": "the form in which a keeper says what can be had",
}
# Where a library is looked into, and what for.
LOOKS_INTO_LIBRARIES = {
    "tasks/cluster/http_transport.py": {"_conn"},
}

# Split, so that this file passes its own test.
MACHINE_PATHS = ("/work/" + "main", "/work/" + "shared", "/work/" + ".library", "/tmp/" + "kube")
# Sentences that needed a second reading, one of each kind; split like the paths above.
HARD_TO_READ = tuple(
    " ".join(words)
    for words in (
        ("where", "empty"),
        ("ever", "where"),
        ("whose", "the", "job", "is"),
        ("who", "types", "them"),
        ("for", "who", "operates"),
        ("nobody", "knows", "how"),
        ("so", "many", "at", "a", "time"),
        ("outlive", "their", "report"),
        ("exclude", "each", "other"),
        ("one's", "own"),
        ("is", "had;"),
        ("not", "so", "{"),
        ("tells", "how", "it", "ended"),
        ("as", "long", "as", "it", "did"),
        ("reads", "along"),
        ("count", "as", "nothing"),
    )
)
# In what people read: "it is no list" for "it is not a list".
IS_NO = re.compile(r"(?<!there )\b(?:is|are) no(?:ne\b| (?!longer\b|more\b)\w)", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def _python_files(*folders: str) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "data" not in path.relative_to(ROOT).parts and "__pycache__" not in path.parts
    )


def _texts() -> Iterator[Path]:
    yield from _python_files(*CODE_FOLDERS, "tests")
    yield from (ROOT / ".ci").iterdir()
    yield from (path for path in ROOT.iterdir() if path.suffix in {".md", ".toml"})
    for folder in (*CODE_FOLDERS, "tests"):
        for suffix in ("md", "sh", "yaml", "yml"):
            yield from (ROOT / folder).rglob(f"*.{suffix}")


def _contract(name_start: str) -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["name"].startswith(name_start))


def _packages(root: str) -> set[str]:
    """Name the packages directly in a root package."""
    return {
        f"{root}.{path.parent.name}"
        for path in (ROOT / root).glob("*/__init__.py")
        if "data" not in path.parts
    }


def _layers(contract: dict[str, Any]) -> set[str]:
    return {name.strip("() ") for layer in contract["layers"] for name in layer.split("|")}


def _imported_modules(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return whole | {
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module
    }


def test_readme_gives_the_one_test_command() -> None:
    commands = [
        line for line in (ROOT / "README.md").read_text().splitlines() if "uv run pytest" in line
    ]

    assert commands[:1] == [TEST_COMMAND]


def test_ci_takes_the_test_command_from_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()

    assert r"'s|^\.uv/bin/\(uv run pytest .*\)|\1|p' README.md" in script
    assert "not cluster" not in script


def test_texts_name_no_machine_of_ours() -> None:
    named = [
        (str(path.relative_to(ROOT)), word)
        for path in _texts()
        for word in MACHINE_PATHS
        if word in path.read_text()
    ]

    assert named == []


def test_texts_have_no_phrase_that_needs_a_second_reading() -> None:
    found = [
        (str(path.relative_to(ROOT)), phrase)
        for path in _texts()
        for phrase in HARD_TO_READ
        if phrase in re.sub(r"[\s#]+", " ", path.read_text()).lower()
    ]

    assert found == []


def test_messages_say_what_a_thing_is_not_in_the_usual_form() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in _python_files(*CODE_FOLDERS)
        for text in _messages(ast.parse(path.read_text()))
        if IS_NO.search(text)
    ]

    assert found == []


def _messages(tree: ast.Module) -> Iterator[str]:
    """Give the texts of a module except docstrings; `x` stands for what is put into them."""
    not_messages = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            not_messages |= {id(part) for part in node.values}
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "x" for p in node.values)
        elif isinstance(node, ast.Constant) and id(node) not in not_messages:
            yield str(node.value)


def test_code_has_no_note_of_unfinished_work() -> None:
    notes = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _python_files(*CODE_FOLDERS, "tests")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if UNFINISHED.search(line)
    ]

    assert notes == []


def test_modules_fit_their_length() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in _python_files(*CODE_FOLDERS)
    }

    assert {path: n for path, n in lengths.items() if n > LONGEST_MODULE_LINES} == {}


def test_module_is_short_only_where_it_is_a_boundary_worth_a_name() -> None:
    short = {
        str(path.relative_to(ROOT))
        for path in _python_files("blocks", "flows", "tasks")
        if path.stem != "__init__" and len(path.read_text().splitlines()) < SHORTEST_MODULE_LINES
    }

    assert short == set(SHORT_MODULES)


def test_libraries_are_looked_into_in_named_modules_alone() -> None:
    found = {
        str(path.relative_to(ROOT)): looked_at
        for path in _python_files("blocks", "flows", "tasks")
        if (looked_at := _private_names_of_others(ast.parse(path.read_text())))
    }

    assert found == LOOKS_INTO_LIBRARIES


def _private_names_of_others(tree: ast.Module) -> set[str]:
    """Name the private attributes that a module uses and no object of its own has."""
    used = {
        (node.attr, isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
    }
    own = {name for name, is_own in used if is_own}
    return {name for name, _ in used} - own


def test_packages_have_at_most_twenty_modules() -> None:
    sizes = Counter(path.parent for path in _python_files("blocks", "flows", "tasks"))

    assert {str(folder): n for folder, n in sizes.items() if n > 1 + MOST_MODULES} == {}


def test_module_names_occur_once_in_the_product() -> None:
    names = Counter(path.stem for path in _python_files("blocks", "flows", "tasks"))

    assert [name for name, n in names.items() if n > 1 and name != "__init__"] == []


def test_every_package_has_its_layer() -> None:
    layers = _layers(_contract("Imports go one way"))

    assert {"flows", "blocks"} <= layers
    assert _packages("tasks") - layers == set()


def test_contracts_name_packages_and_no_modules() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = {
        name
        for contract in settings["tool"]["importlinter"]["contracts"]
        for name in _layers(contract | {"layers": contract.get("layers", [])})
        | set(contract.get("source_modules", []))
    }

    assert [n for n in named if (ROOT / (n.replace(".", "/") + ".py")).exists()] == []


def test_stages_are_used_by_flows_and_stages_alone() -> None:
    stages = {f"tasks.{path.stem}" for path in (ROOT / "tasks").glob("*.py")} - {"tasks.__init__"}
    users = [
        (str(path.relative_to(ROOT)), stage)
        for path in _python_files("blocks", "tasks")
        if path.parent != ROOT / "tasks"
        for stage in stages & _imported_modules(path)
    ]

    assert users == []


def test_every_package_states_its_law() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _python_files("blocks", "flows", "tasks")
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]

    assert silent == []


def test_test_modules_have_names_of_their_own() -> None:
    names = Counter(path.name for path in _python_files("tests") if path.name != "conftest.py")

    assert [name for name, count in names.items() if count > 1] == []


def test_texts_name_test_modules_that_there_are() -> None:
    texts = [*_python_files("tests"), *ROOT.glob("*.md"), *(ROOT / "tests").rglob("*.md")]
    missing = [
        (str(path.relative_to(ROOT)), name)
        for path in texts
        for name in re.findall(r"[\w./]*test_\w+\.py\b", path.read_text())
        if not list((ROOT / "tests").rglob(f"**/{name.removeprefix('tests/').lstrip('./')}"))
    ]

    assert missing == []


def test_test_folders_hide_no_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("word", ["MagicMock", "AsyncMock", "mock.patch", "mocker."])
def test_mocks_say_why(word: str) -> None:
    without_reason = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _python_files("tests")
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if word in line and "#" not in line
    ]

    assert without_reason == []


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a function, without the functions in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _own_nodes(child)


def _checks(node: ast.AST) -> list[int]:
    """Return the lines of a node's checks: `assert`, and `pytest.raises` and the like."""
    return [
        each.lineno
        for each in (node, *_own_nodes(node))
        if isinstance(each, ast.Assert)
        or (isinstance(each, ast.Attribute) and each.attr in {"raises", "warns", "fail"})
    ]


def _is_met_by_all(statement: ast.stmt) -> bool:
    """Tell whether each case that comes to a statement meets a check in it."""
    match statement:
        case ast.If(body=body, orelse=orelse):
            return any(map(_is_met_by_all, body)) and any(map(_is_met_by_all, orelse))
        case ast.Match(cases=cases):
            return all(any(map(_is_met_by_all, case.body)) for case in cases)
        case _:
            return bool(_checks(statement))


def ways_around_checks(test: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Name the ways in which a case of a test may end well without a check."""
    checks = _checks(test)
    ways = [
        f"line {node.lineno}: returns before the first check"
        for node in _own_nodes(test)
        if isinstance(node, ast.Return) and (not checks or node.lineno < checks[-1])
    ]
    for loop in _own_nodes(test):
        if isinstance(loop, ast.For | ast.AsyncFor | ast.While) and (
            checks_of_loop := _checks(loop)
        ):
            ways += [
                f"line {node.lineno}: goes on before the first check"
                for node in _own_nodes(loop)
                if isinstance(node, ast.Continue) and node.lineno < checks_of_loop[0]
            ]
    if checks and not any(map(_is_met_by_all, test.body)):
        ways.append(f"line {test.lineno}: checks under a condition alone")
    return ways


def test_no_test_ends_well_without_a_check() -> None:
    ways = [
        f"{path.relative_to(ROOT)} {function.name}, {way}"
        for path in _python_files("tests")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        if function.name.startswith("test_")
        for way in ways_around_checks(function)
    ]

    assert ways == []


@pytest.mark.parametrize(
    ("body", "way"),
    [
        ("if row.rare:\n  return\n assert row", "line 3: returns before the first check"),
        ("try:\n  f()\n except E:\n  return\n assert x", "line 5: returns before the first check"),
        ("if row:\n  return", "line 3: returns before the first check"),
        (
            "for r in rows:\n  if r:\n   continue\n  assert r",
            "line 4: goes on before the first check",
        ),
        ("if row:\n  assert row", "line 1: checks under a condition alone"),
        ("if row:\n  assert a\n elif b:\n  assert b", "line 1: checks under a condition alone"),
    ],
)
def test_way_around_a_check_is_named(body: str, way: str) -> None:
    [function] = ast.parse(f"def test_it(row):\n {body}").body

    assert isinstance(function, ast.FunctionDef)
    assert ways_around_checks(function) == [way]


@pytest.mark.parametrize(
    "body",
    [
        "assert row\n def inner():\n  return 1\n assert inner()",
        "if row:\n  assert row\n else:\n  assert not row",
        "for r in rows:\n  if not r:\n   with pytest.raises(E):\n    r()\n   continue\n  assert r",
        "if row:\n  assert a\n assert b",
        "helper(row)",
    ],
)
def test_test_that_checks_every_case_is_left_alone(body: str) -> None:
    [function] = ast.parse(f"def test_it(row):\n {body}").body

    assert isinstance(function, ast.FunctionDef)
    assert ways_around_checks(function) == []
