"""The shipped Dockerfiles, and what the cluster tests run instead of images built from them."""

import re
from pathlib import Path

from tests.images.build import CLAUDE_CODE_PACKAGE
from tests.images.flow_run_files import (
    COMPILE,
    FLOW_RUN_CONFIG,
    INSTALL_APPLICATION,
    INSTALL_DEPENDENCIES,
)

IMAGES = Path(__file__).parents[3] / "deployments" / "images"
FLOW_RUN = (IMAGES / "flow-run.Dockerfile").read_text().replace("\\\n", " ")
AGENT = (IMAGES / "agent.Dockerfile").read_text().replace("\\\n", " ")


def instructions(dockerfile: str, name: str) -> list[str]:
    return re.findall(rf"^{name} +(.*)$", dockerfile, re.MULTILINE)


def env_of(stage: str) -> dict[str, str]:
    entries = " ".join(instructions(stage, "ENV")).split()
    return dict(entry.split("=", 1) for entry in entries)


def test_tested_image_is_configured_as_the_shipped_one() -> None:
    *_, last_stage = FLOW_RUN.split("\nFROM ")

    assert env_of(last_stage) == FLOW_RUN_CONFIG.env
    assert instructions(last_stage, "USER") == [FLOW_RUN_CONFIG.user]
    assert instructions(last_stage, "WORKDIR") == [FLOW_RUN_CONFIG.working_directory]


def test_tested_image_is_installed_as_the_shipped_one() -> None:
    _, build_stage, _ = FLOW_RUN.split("\nFROM ")
    # Only a folder that is used again holds an older version to be replaced.
    application = INSTALL_APPLICATION.removesuffix(" --reinstall-package claude-jobs")

    assert instructions(build_stage, "RUN") == [INSTALL_DEPENDENCIES, application]
    assert COMPILE.items() <= env_of(build_stage).items()


def test_agent_image_has_the_tested_version_of_the_cli() -> None:
    name, _, version = CLAUDE_CODE_PACKAGE.rpartition("@")

    assert instructions(AGENT, "ARG") == [
        f"CLAUDE_CODE_VERSION={version}",
        f"CLAUDE_CODE_PLATFORM={name.removeprefix('@anthropic-ai/claude-code-')}",
    ]


def test_containers_are_not_root() -> None:
    assert [instructions(text, "USER")[-1] for text in (FLOW_RUN, AGENT)] == ["1000:1000"] * 2
