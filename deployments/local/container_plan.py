"""How one container is run on this machine: program, environment, mounts, user."""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deployments.local.containers import Mount, ProcessSpec
from deployments.local.environment import ConfigError, PathRewriter, container_argv
from deployments.local.objects import mapped, name_of
from deployments.local.quantities import memory_limit_bytes
from deployments.local.resources import JsonObject

_IMAGE = re.compile(
    r"(?:[\w.-]+(?::\d+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


class WaitingError(Exception):
    """The container must wait for its image; the text is the waiting message.

    Attributes:
        reason: The waiting reason.
        event: The reason of the Event about it.
    """

    def __init__(self, reason: str, message: str, event: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.event = event


@dataclass(frozen=True)
class PlanSettings:
    """What all containers of the node have in common.

    Attributes:
        isolated: Whether mounts are possible; else paths are rewritten.
        bin_folders: Put before the host's PATH.
        unpullable: Beginnings of image names that no registry has.
        host_ip: The address of node and pods.
        api_port: Where containers reach the API server, on `host_ip`.
        claim_folder: From namespace and claim to the bound directory; None while unbound.
        issue_token: Makes a token for the pod's ServiceAccount, with a lifetime in seconds.
    """

    isolated: bool
    bin_folders: tuple[str, ...]
    unpullable: tuple[str, ...]
    host_ip: str
    api_port: int
    claim_folder: Callable[[str, str], Path | None]
    issue_token: Callable[[JsonObject, int], str]


@dataclass(frozen=True)
class ContainerPlan:
    """A container ready to run.

    Attributes:
        spec: The process.
        folder: The container's own directory.
        message_file: Where the termination message is read.
        rewriter: Turns the container's paths into this machine's.
    """

    spec: ProcessSpec
    folder: Path
    message_file: Path
    rewriter: PathRewriter


def check_image(manifest: JsonObject, settings: PlanSettings) -> None:
    """Let any well-formed image name pass, except the unpullable ones.

    Raises:
        WaitingError: What the container waits for.
    """
    image = manifest["image"]
    if not _IMAGE.fullmatch(image):
        rule = "invalid reference format"
        if image.lower() != image:
            rule += ": repository name must be lowercase"
        raise WaitingError(
            "InvalidImageName",
            f'Failed to apply default image tag "{image}": couldn\'t parse image reference '
            f'"{image}": {rule}',
            "InspectFailed",
        )
    if not image.startswith(settings.unpullable):
        return
    if manifest.get("imagePullPolicy") == "Never":
        raise WaitingError(
            "ErrImageNeverPull",
            f'Container image "{image}" is not present with pull policy of Never',
            "ErrImageNeverPull",
        )
    host, _, path = image.partition("/")
    name, _, tag = path.partition(":")
    raise WaitingError(
        "ErrImagePull",
        f'failed to pull and unpack image "{image}": failed to resolve image: failed to do '
        f'request: Head "https://{host}/v2/{name}/manifests/{tag or "latest"}": dial tcp {host}: '
        "connect: connection refused",
        "Failed",
    )


def plan_container(
    pod: JsonObject,
    manifest: JsonObject,
    variables: dict[str, str],
    mounts: list[Mount],
    folder: Path,
    settings: PlanSettings,
) -> ContainerPlan:
    """Return how to run a container.

    Raises:
        ConfigError: The manifest forbids to run it.
    """
    uid, gid = _user(pod, manifest)
    message_file = folder / "termination-log"
    home = folder / "home"
    environment = {
        "PATH": ":".join((*settings.bin_folders, os.environ.get("PATH", os.defpath))),
        "HOSTNAME": name_of(pod),
        "HOME": str(home),
        "KUBERNETES_SERVICE_HOST": settings.host_ip,
        "KUBERNETES_SERVICE_PORT": str(settings.api_port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(settings.api_port),
        **variables,
    }
    if not settings.isolated:
        # The one path that programs have built in; ours take another one from this variable.
        environment.setdefault("CLAUDE_JOBS_TERMINATION_LOG", manifest["terminationMessagePath"])
    home.mkdir(parents=True, exist_ok=True)
    cwd = manifest.get("workingDir") or environment["HOME"]
    mounts = [*mounts, Mount(message_file, manifest["terminationMessagePath"])]
    # An image would bring these directories; the host must not get them.
    for number, path in enumerate(_missing_folders((environment["HOME"], cwd), mounts)):
        scratch = folder / f"scratch-{number}"
        scratch.mkdir(exist_ok=True)
        mounts.append(Mount(scratch, path))
    argv = container_argv(manifest, variables)
    if not argv:
        raise ConfigError(
            f'image "{manifest["image"]}" is not looked into, so the manifest must name a command'
        )
    places = {} if settings.isolated else {m.target: str(m.source) for m in mounts}
    rewriter = PathRewriter(places)
    root = folder / "root"
    root.mkdir(exist_ok=True)
    spec = ProcessSpec(
        argv=[rewriter.rewrite(word) for word in argv],
        env={key: rewriter.rewrite(value) for key, value in environment.items()},
        cwd=rewriter.rewrite(cwd),
        root=root,
        mounts=tuple(mounts),
        uid=uid,
        gid=gid,
        memory_limit_bytes=memory_limit_bytes(manifest),
    )
    return ContainerPlan(spec, folder, message_file, rewriter)


def _user(pod: JsonObject, manifest: JsonObject) -> tuple[int | None, int | None]:
    context = {
        **mapped(pod["spec"], "securityContext"),
        **mapped(manifest, "securityContext"),
    }
    uid = context.get("runAsUser")
    if context.get("runAsNonRoot") and not uid:
        raise ConfigError("container has runAsNonRoot and image will run as root")
    return uid, context.get("runAsGroup")


def _missing_folders(paths: Iterable[str], mounts: list[Mount]) -> list[str]:
    targets = [mount.target.rstrip("/") for mount in mounts]
    missing: list[str] = []
    for path in paths:
        covered = any(path == t or path.startswith(f"{t}/") for t in (*targets, *missing))
        if not covered and not Path(path).exists():
            missing.append(path)
    return missing
