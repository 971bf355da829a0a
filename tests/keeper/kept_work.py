"""An agent's repository, the keeper's script under one shell, and checkpoints taken apart."""

import hashlib
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "tasks" / "work" / "keeper.sh"
PART_ORDER = ["facts", "notes", "files", "pack", "patch"]
MEBIBYTE = 1 << 20
Listing = dict[bytes, tuple[str, bytes]]

# All that the script may use; in particular no awk and no perl.
_TOOLS = [
    *("cat", "cut", "date", "env", "find", "git", "grep", "head", "ln", "ls", "mkdir", "mv", "rm"),
    *("sed", "sha256sum", "sleep", "sort", "stat", "tail", "timeout", "tr", "true", "wc", "xargs"),
]

_GIT_ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Agent",
    "GIT_AUTHOR_EMAIL": "agent@invalid",
    "GIT_COMMITTER_NAME": "Agent",
    "GIT_COMMITTER_EMAIL": "agent@invalid",
}


def git(folder: Path, *arguments: str | bytes, stdin: bytes = b"") -> bytes:
    """Run the real git as an agent or a user would."""
    ended = subprocess.run(
        [b"git", *(os.fsencode(argument) for argument in arguments)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **_GIT_ENV},
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, (arguments, ended.stderr)
    return ended.stdout


def commit_all(folder: Path, message: str = "Change") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", message)
    return head_of(folder)


def head_of(folder: Path) -> str:
    return git(folder, "rev-parse", "HEAD").decode().strip()


@dataclass(frozen=True)
class Checkpoint:
    """A stream, taken apart."""

    raw: bytes
    id: str
    parts: Mapping[str, bytes]

    @property
    def facts(self) -> dict[str, str]:
        lines = self.parts["facts"].decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def notes(self) -> list[tuple[str, bytes]]:
        raw = self.parts.get("notes", b"")
        assert not raw or raw.endswith(b"\0")
        pairs = [entry.split(b"\t", 1) for entry in raw.split(b"\0")[:-1]]
        return [(kind.decode(), text) for kind, text in pairs]

    @property
    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.notes}

    def noted(self, kind: str) -> list[bytes]:
        return [text for noted, text in self.notes if noted == kind]

    @property
    def changes(self) -> dict[bytes, str]:
        """Path and letter of each changed file; the counts of lines stand for the same paths."""
        raw = self.parts.get("files", b"")
        if not raw:
            return {}
        changes: dict[bytes, str] = {}
        entries = iter(raw.split(b"\0"))
        for entry in entries:
            if not entry:
                break
            assert entry.startswith(b":")
            changes[next(entries)] = entry.split(b" ")[4].decode()
        rest = list(entries)
        assert rest[-1] == b""
        assert [entry.split(b"\t", 2)[2] for entry in rest[:-1]] == list(changes)
        assert str(len(changes)) == self.facts["files"]
        return changes


def take_apart(raw: bytes) -> Checkpoint:
    """Check the form of a stream, byte by byte, and every sum in it."""
    header, _, body = raw.partition(b"\n\n")
    first, *lines = header.decode("ascii").split("\n")
    product, version, name = first.split(" ")
    assert (product, version) == ("claude-jobs-work", "1")
    assert 1 <= len(name) <= 40
    assert set(name) <= set("0123456789abcdefghijklmnopqrstuvwxyz-")
    parts: dict[str, bytes] = {}
    for line in lines:
        part, size, digest = line.split(" ")
        assert size == str(int(size))
        assert size != "0"
        parts[part], body = body[: int(size)], body[int(size) :]
        assert len(parts[part]) == int(size)
        assert hashlib.sha256(parts[part]).hexdigest() == digest
    assert body == b""
    assert list(parts) == [part for part in PART_ORDER if part in parts]
    assert "facts" in parts
    return Checkpoint(raw, name, parts)


def _blobs(checkpoint: Checkpoint) -> list[bytes]:
    """Every blob that a changed file has now."""
    raw = checkpoint.parts.get("files", b"").partition(b"\0\0")[0].split(b"\0")[::2]
    return [entry.split(b" ")[3] for entry in raw if entry and b" 000000 " not in entry]


@cache
def can_mount() -> bool:
    """Tell whether a test may mount a folder read-only for the script, as the pod does."""
    tools = [shutil.which(tool) for tool in ("unshare", "mount")]
    if os.geteuid() != 0 or None in tools:
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@dataclass
class Keeper:
    """One pod's worth of folders: the origin, the agent's clone of it, and the keeper's own."""

    shell: str
    folder: Path
    limit_bytes: int = 8 * MEBIBYTE
    prefix: Sequence[str] = ()
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def __post_init__(self) -> None:
        self.tree = self.folder / "workspace" / "repo"
        self.dir = self.folder / "keeper"
        self.alive = self.folder / "work" / "alive"
        self.origin = self.folder / "origin"
        self.path = self.folder / "bin"
        for made in (self.dir, self.alive.parent, self.path, self.tree.parent):
            made.mkdir(parents=True)
        self._link_tools()

    def _link_tools(self) -> None:
        found = {tool: shutil.which(tool) for tool in _TOOLS}
        if self.shell == "busybox":
            found = {tool: shutil.which("busybox") for tool in _TOOLS} | {"git": found["git"]}
        for tool, program in {**found, "sh": shutil.which(self.shell)}.items():
            assert program is not None, f"{tool} is not installed"
            (self.path / tool).symlink_to(program)

    def clone(self, files: Mapping[str | bytes, bytes], *, depth: int = 0, format: str = "") -> str:
        """Make the origin with these files and clone it, as the pod's init container does."""
        options = [f"--object-format={format}"] if format else []
        git(self.folder, "init", "-q", "-b", "main", *options, str(self.origin))
        base = ""
        for number in range(3 if depth else 1):
            self.write({**files, "number": str(number).encode()}, self.origin)
            base = commit_all(self.origin, f"Base {number}")
        shallow = [f"--depth={depth}"] if depth else []
        git(self.folder, "clone", "-q", *shallow, f"file://{self.origin}", str(self.tree))
        git(self.tree, "checkout", "-q", "-B", "work")
        (self.dir / "base").write_text(f"{base}\n")
        return base

    def write(self, files: Mapping[str | bytes, bytes], folder: Path | None = None) -> None:
        for name, content in files.items():
            path = (folder or self.tree) / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        settings = {
            "CLAUDE_JOBS_KEEPER_TREE": str(self.tree),
            "CLAUDE_JOBS_KEEPER_DIR": str(self.dir),
            "CLAUDE_JOBS_KEEPER_ALIVE_FILE": str(self.alive),
            "CLAUDE_JOBS_KEEPER_LIMIT_BYTES": str(self.limit_bytes),
            "HOME": str(self.dir),
        }
        command = [str(self.path / "sh"), str(SCRIPT), *arguments]
        if can_mount() and self.tree.is_dir() and not self.tree.is_symlink():
            command = [*self._mounted(), *self.prefix, *command]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": str(self.path), **settings, **env},
        )
        self.processes.append(process)
        return process

    def _mounted(self) -> list[str]:
        unshare, mount = shutil.which("unshare"), shutil.which("mount")
        script = (
            f'set -e; {mount} --bind "$1" "$1"; {mount} -o remount,ro,bind "$1"; shift; exec "$@"'
        )
        return [str(unshare), "-m", "/bin/sh", "-c", script, "sh", str(self.tree)]

    def run(self, *arguments: str, **env: str) -> tuple[int, bytes, bytes]:
        process = self.start(*arguments, **env)
        stdout, stderr = process.communicate(timeout=300)
        return process.returncode, stdout, stderr

    def collect(self, **env: str) -> Checkpoint:
        code, stdout, stderr = self.run("collect", **env)
        assert (code, stderr) == (0, b"")
        left = {path.name for path in self.dir.iterdir()}
        assert {"base", "checkpoints", "lock", "state"} <= left
        assert left <= {"base", "checkpoints", "lock", "state", "looked", "finish"}
        return take_apart(stdout)

    def restore(self, checkpoint: Checkpoint, name: str = "restored") -> Path:
        """Make the work from the pack and the origin's base alone, and return its folder."""
        facts = checkpoint.facts
        restored = self.folder / name
        git(self.folder, "init", "-q", f"--object-format={facts['object_format']}", str(restored))
        if "pack" in checkpoint.parts:
            pack = checkpoint.parts["pack"]
            git(restored, "index-pack", "--fsck-objects", "--stdin", stdin=pack)
            found = git(restored, "cat-file", "--batch-check", stdin=b"\n".join(_blobs(checkpoint)))
            assert b"missing" not in found
        git(restored, "fetch", "-q", "--update-shallow", f"file://{self.origin}", "main")
        git(restored, "checkout", "-q", "--detach", facts["tree"])
        git(restored, "fsck", "--connectivity-only", facts["tree"])
        return restored

    def apply_patch(self, checkpoint: Checkpoint) -> Path:
        patched = self.folder / "patched"
        git(self.folder, "clone", "-q", str(self.origin), str(patched))
        git(patched, "apply", "--index", "-", stdin=checkpoint.parts["patch"])
        return patched

    def disk_bytes(self) -> int:
        total = 0
        for folder, _, names in os.walk(self.dir):
            for name in [".", *names]:
                with suppress(FileNotFoundError):
                    total += (Path(folder) / name).lstat().st_blocks * 512
        return total

    @property
    def disk_bound(self) -> int:
        return 3 * self.limit_bytes + 64 * MEBIBYTE

    @contextmanager
    def watched(self) -> Generator[list[int]]:
        """Look at the size of the keeper's folder all the time."""
        seen: list[int] = []
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.02):
                seen.append(self.disk_bytes())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            done.set()
            thread.join()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()


def list_tree(folder: Path, without: Sequence[bytes] = ()) -> Listing:
    """Every file below, but git's own: its kind and its bytes."""
    listing: Listing = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*names, *folders]:
            path = Path(place) / name
            short = os.fsencode(path.relative_to(folder))
            mode = path.lstat().st_mode
            if short in without or short == b".git":
                continue
            if stat.S_ISLNK(mode):
                listing[short] = ("link", os.fsencode(path.readlink()))
            elif stat.S_ISREG(mode):
                listing[short] = ("program" if mode & 0o100 else "file", path.read_bytes())
    return listing


def list_everything(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Every name below, git's own too, with its mode, size and time of change."""
    found: dict[Path, tuple[int, int, int]] = {}
    for place, folders, names in os.walk(folder):
        for name in [*names, *folders]:
            path = Path(place) / name
            status = path.lstat()
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def wait_for(path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)
