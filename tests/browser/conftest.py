"""Prefect's own UI in a headless Chromium, over runs on an embedded cluster."""

import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    Page,
    Route,
    ViewportSize,
    sync_playwright,
)
from playwright.sync_api import (
    TimeoutError as NotShown,
)
from rich.console import Console

from flows.cli.demo_requests import build_replay_request
from flows.cli.demo_surroundings import RECORDINGS, Surroundings, start_surroundings
from flows.cli.local_processes import program
from tests.main_job.conftest import PrefectServer
from tests.waits import WaitRanOut, wait_until

# Tests take a browser that is there (Debian's package `chromium`) and download none.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SIZE = ViewportSize(width=1280, height=1000)


@pytest.fixture(scope="module")
def surroundings() -> Iterator[Surroundings]:
    """An embedded cluster with a replaying `claude`, and a Prefect server with its UI."""
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH")
    with tempfile.TemporaryDirectory(prefix="claude-jobs-browser-") as name:
        folder = Path(name)
        # Containers run as another user where this one is root.
        folder.chmod(0o755)
        with start_surroundings(folder, Console(quiet=True), serve_ui=True, replay=True) as started:
            yield started


@dataclass(frozen=True)
class RunOnPage:
    """A run that is over, and its artifacts by kind."""

    result: dict[str, Any]
    artifacts: dict[str, str]

    @property
    def path(self) -> str:
        return f"/runs/flow-run/{self.result['flow_run_id']}"


class Runner:
    """Runs agents as people do on the command line."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self.recordings = surroundings.folder / RECORDINGS
        self._server = PrefectServer(f"{surroundings.prefect_url}/api", surroundings.folder)

    def run(self, **fields: Any) -> RunOnPage:
        """Run the demo's agent with other fields; `env` is merged."""
        return self.finish(self.start(**fields))

    def start(self, **fields: Any) -> "subprocess.Popen[str]":
        """Start such a run and return at once."""
        folder = self._surroundings.folder
        request = build_replay_request(self.recordings, folder / "results")
        request["env"] |= {"REPLAY_LINE_DELAY_SECONDS": "0.05", **fields.pop("env", {})}
        path = folder / f"{uuid.uuid4().hex[:8]}.json"
        path.write_text(json.dumps({**request, **fields}))
        return subprocess.Popen(
            [
                *(program("claude-jobs"), "run", path, "--json"),
                *("--kubeconfig", self._surroundings.kubeconfig),
            ],
            env=self._surroundings.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def finish(self, process: "subprocess.Popen[str]") -> RunOnPage:
        """Wait for the end of a run."""
        output, _ = process.communicate()
        result = json.loads(output.rstrip("\n").rpartition("\n")[2])
        artifacts = self._server.artifacts(result["flow_run_id"])
        # An agent's id is the first part of a key here, the kind the second.
        return RunOnPage(result, {item["key"].split("-")[1]: item["id"] for item in artifacts})

    def path_of(self, agent_id: str) -> str:
        """Wait for the flow run of an agent, and return the path of its page."""
        wanted = {"flow_runs": {"tags": {"all_": [f"agent:{agent_id}"]}}}
        wait_until(lambda: bool(self._server.post("/flow_runs/filter", wanted)))
        [found] = self._server.post("/flow_runs/filter", wanted)
        return f"/runs/flow-run/{found['id']}"

    def cancel(self, path: str) -> None:
        """Cancel a run; the UI has a button for runs of deployments only."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        run = path.rpartition("/")[2]
        self._server.post(f"/flow_runs/{run}/set_state", {"state": state})

    def latest_artifact(self, key: str) -> str:
        """The id of what stands under a key that belongs to no run."""
        wanted = {"artifacts": {"key": {"any_": [key]}}}
        [found] = self._server.post("/artifacts/latest/filter", wanted)
        return found["latest_id"]


@pytest.fixture(scope="module")
def runner(surroundings: Surroundings) -> Runner:
    return Runner(surroundings)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


class Ui:
    """A page of the UI; what it shows is asked for by its text, as people look for it."""

    def __init__(self, page: Page, address: str, pictures: Path) -> None:
        self.page = page
        self._address = address
        self._pictures = pictures

    def open(self, path: str) -> None:
        self.page.goto(f"{self._address}{path}")

    def open_artifact(self, artifact_id: str) -> None:
        self.open(f"/artifacts/artifact/{artifact_id}")
        self.expect("Show raw data")

    def choose_tab(self, name: str) -> None:
        self.page.get_by_text(name, exact=True).first.click()

    def expect(self, text: str) -> None:
        """Wait until the text is seen."""
        try:
            self.page.get_by_text(text).locator("visible=true").first.wait_for(timeout=20_000)
        except NotShown:
            raise WaitRanOut(f"the page does not show {text!r}") from None

    def expect_no(self, text: str) -> None:
        """Wait until the text is seen no more."""
        try:
            self.page.get_by_text(text).first.wait_for(state="hidden", timeout=20_000)
        except NotShown:
            raise WaitRanOut(f"the page still shows {text!r}") from None

    def show_only_tag(self, tag: str) -> None:
        """Filter the list of runs that is open."""
        self.page.get_by_text("All tags").click()
        self.page.keyboard.type(tag)
        self.page.locator(".p-select-option", has_text=tag).click()
        self.page.keyboard.press("Escape")

    def take_picture(self, name: str) -> None:
        """Keep what is seen, in the folder of `--pictures`, else in the test's own."""
        self.page.screenshot(path=self._pictures / f"{name}.jpg", type="jpeg", quality=70)


@pytest.fixture
def ui(
    surroundings: Surroundings, browser: Browser, tmp_path: Path, pytestconfig: pytest.Config
) -> Iterator[Ui]:
    address = surroundings.prefect_url
    pictures: Path = pytestconfig.getoption("--pictures") or tmp_path

    def keep_local(route: Route) -> None:
        if route.request.url.startswith(address):
            route.continue_()
        else:
            route.abort()

    with browser.new_context(viewport=SIZE) as context:
        page = context.new_page()
        page.route("**/*", keep_local)
        yield Ui(page, address, pictures)
