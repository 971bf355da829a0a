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
TEST_COMMAND = '.uv/bin/uv run pytest -n 4 --dist loadfile -m "not cluster and not long"'
LONGEST_MODULE_LINES = 400
MOST_MODULES = 20

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
    )
)
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
