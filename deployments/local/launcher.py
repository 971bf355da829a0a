"""Runs one container's process; a program of its own, started by the node with `python -I -S`.

It stays between the node and the container so that the container cannot outlive the node, however
the node ends: the control pipe then closes, and everything below is killed.

Arguments: the specification's file, the control pipe's and the status pipe's descriptor.
Control pipe: `T` sends SIGTERM to the main process, `K` kills everything.
Status pipe: JSON lines; `{"pid": n}` or `{"start_error": text}`, at the end
`{"exit_code": n, "oom": bool}`.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import sys
import termios
from pathlib import Path
from typing import Any

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_MOVE = 1, 32, 4096, 8192
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_KEPT_MOUNT_FLAGS = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_SET_CHILD_SUBREAPER = 36
_MEMORY_LOOK_SECONDS = 0.1
_IDLE_LOOK_SECONDS = 0.5
_START_ERROR_CODE = 128
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Spec = dict[str, Any]
_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    raw = (source.encode(), target.encode(), kind.encode())
    _call(_libc.mount(*raw, ctypes.c_ulong(flags), None), f"mount {source} on {target}")


def _unshare(flags: int) -> None:
    _call(_libc.unshare(flags), "unshare")


def _enter_namespaces(spec: Spec) -> None:
    uid, gid = os.geteuid(), os.getegid()
    inside = spec["uid"]
    # One mapping makes the manifest's user out of whoever runs the cluster: file permissions stay
    # those of that person. Root without a wish needs none.
    if uid != 0 or inside not in (None, 0):
        _unshare(_CLONE_NEWUSER)
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{inside or 0} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{spec['gid'] or 0} {gid} 1")
    _unshare(_CLONE_NEWPID)


def _make_root(spec: Spec) -> None:
    """Make a root of the host's own directories, with the pod's mounts put in."""
    _unshare(_CLONE_NEWNS)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    root = spec["root"]
    _mount("tmpfs", root, "tmpfs", 0)
    # On the way to a mount target the host's directory is opened up, entry by entry, because a
    # target that the host lacks must not be made on the host.
    mounts = sorted(
        ((os.path.realpath(m["target"]), m) for m in spec["mounts"]), key=lambda pair: len(pair[0])
    )
    opened = {"/"}
    for target, _ in mounts:
        parent = str(Path(target).parent)
        while parent not in opened:
            opened.add(parent)
            parent = str(Path(parent).parent)
    inner = {target for target, _ in mounts}
    _fill("/", root, opened, inner)
    for target, mount in mounts:
        _bind_mount(mount, root + target)
    try:
        _mount("proc", f"{root}/proc", "proc", _KEPT_MOUNT_FLAGS)
    except OSError:
        # Refused where parts of the host's are hidden, as in some containers.
        _mount("/proc", f"{root}/proc", "", _MS_BIND | _MS_REC)
    os.chdir(root)
    _mount(root, "/", "", _MS_MOVE)
    os.chroot(".")


def _fill(host: str, place: str, opened: set[str], inner: set[str]) -> None:
    with contextlib.suppress(OSError), os.scandir(host) as entries:
        for entry in entries:
            path = entry.path
            target = Path(place, entry.name)
            if path in inner or path == "/proc":
                continue
            if entry.is_symlink():
                target.symlink_to(Path(path).readlink())
            elif path in opened:
                target.mkdir(exist_ok=True)
                _fill(path, str(target), opened, inner)
            else:
                _bind_host_entry(path, target, is_folder=entry.is_dir())
    if host == "/":
        Path(place, "proc").mkdir()


def _bind_host_entry(path: str, target: Path, *, is_folder: bool) -> None:
    if is_folder:
        target.mkdir()
    else:
        target.touch()
    # A place that cannot be bound (a dead network mount, say) is empty in the container.
    with contextlib.suppress(OSError):
        _mount(path, str(target), "", _MS_BIND | _MS_REC)


def _bind_mount(mount: Spec, place: str) -> None:
    source = mount["source"]
    if Path(source).is_dir():
        Path(place).mkdir(parents=True, exist_ok=True)
    elif not Path(place).exists():
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).touch()
    _mount(source, place, "", _MS_BIND | _MS_REC)
    if mount["read_only"]:
        kept = os.statvfs(place).f_flag & _KEPT_MOUNT_FLAGS
        _mount("none", place, "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)


def _join_namespaces(pid: int) -> None:
    names = ("user", "mnt", "pid")
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY)
    descriptors: list[int] = []
    for name in names:
        theirs = Path(f"/proc/{pid}/ns/{name}")
        if theirs.readlink() != Path(f"/proc/self/ns/{name}").readlink():
            descriptors.append(os.open(theirs, os.O_RDONLY))
    for descriptor in descriptors:
        _call(_libc.setns(descriptor, 0), "setns")
    os.fchdir(root)
    os.chroot(".")


def _find_program(name: str, search_path: str) -> str:
    if "/" in name:
        return name
    for folder in search_path.split(":"):
        candidate = Path(folder, name)
        if os.access(candidate, os.X_OK) and not candidate.is_dir():
            return str(candidate)
    raise FileNotFoundError(errno.ENOENT, "executable file not found in $PATH")


def _become(spec: Spec, report: int) -> None:
    """Turn this child into the container's main process; returns only by exiting."""
    argv: list[str] = spec["argv"]
    try:
        os.setsid()
        if spec["isolated"] and spec["join_pid"] is None:
            _make_root(spec)
        if spec["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        Path(spec["cwd"]).mkdir(parents=True, exist_ok=True)
        os.chdir(spec["cwd"])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        program = _find_program(argv[0], spec["env"].get("PATH", os.defpath))
        os.execve(program, argv, spec["env"])
    except OSError as failure:
        reason = failure.strerror or str(failure)
        if "$PATH" in reason:
            text = f'exec: "{argv[0]}": {reason}'
        elif failure.errno == errno.ENOENT and not Path(argv[0]).exists():
            text = f'exec: "{argv[0]}": stat {argv[0]}: no such file or directory'
        elif failure.errno == errno.EACCES:
            text = f'exec: "{argv[0]}": permission denied'
        else:
            text = f'exec: "{argv[0]}": {reason}'
        os.write(report, text.encode())
    os._exit(_START_ERROR_CODE)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    todo = [pid]
    while todo:
        current = todo.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{current}/task").iterdir():
                children = (task / "children").read_text().split()
                found += map(int, children)
                todo += map(int, children)
    return found


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


class _Container:
    def __init__(self, spec: Spec, pid: int, control: int) -> None:
        self._spec = spec
        self._pid = pid
        self._control = control
        self._limit: int | None = spec["memory_limit_bytes"]
        self.oom = False

    def run(self) -> int:
        """Return the exit code, 128 + n for signal n, when the main process has ended."""
        watched = [self._control]
        with contextlib.suppress(AttributeError, OSError):
            watched.append(os.pidfd_open(self._pid))
        pause = _MEMORY_LOOK_SECONDS if self._limit or len(watched) == 1 else _IDLE_LOOK_SECONDS
        while True:
            ready, _, _ = select.select(watched, [], [], pause)
            if self._control in ready:
                self._obey(watched)
            if self._limit:
                self._look_at_memory(self._limit)
            code = self._ended()
            if code is not None:
                # What the main process leaves behind ends with it, as in a container.
                for pid in _descendants(os.getpid()):
                    _kill(pid)
                return code

    def _obey(self, watched: list[int]) -> None:
        command = os.read(self._control, 1)
        if command == b"T":
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
            return
        if not command:
            watched.remove(self._control)
        for pid in (*_descendants(self._pid), self._pid):
            _kill(pid)

    def _look_at_memory(self, limit: int) -> None:
        sizes = {pid: _resident_bytes(pid) for pid in (self._pid, *_descendants(self._pid))}
        if sum(sizes.values()) > limit:
            self.oom = True
            _kill(max(sizes, key=lambda pid: sizes[pid]))

    def _ended(self) -> int | None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return _START_ERROR_CODE
            if pid == 0:
                return None
            if pid == self._pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def main() -> None:
    """Run the container that the arguments name."""
    spec: Spec = json.loads(Path(sys.argv[1]).read_bytes())
    control, status = int(sys.argv[2]), int(sys.argv[3])
    for descriptor in (control, status):
        os.set_inheritable(descriptor, False)
    # The node's own signals reach its process group; a container hears of them from the node.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    def tell(message: Spec) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(status, json.dumps(message).encode() + b"\n")

    try:
        with contextlib.suppress(AttributeError):
            _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if spec["join_pid"] is not None:
            _join_namespaces(spec["join_pid"])
        elif spec["isolated"]:
            _enter_namespaces(spec)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become(spec, writer)
    except OSError as failure:
        tell({"start_error": str(failure)})
        return
    os.close(writer)
    # The container alone holds its output open, so that its end is the end of the output.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    problem = b"".join(iter(lambda: os.read(reader, 4096), b""))
    tell({"start_error": problem.decode()} if problem else {"pid": pid})
    container = _Container(spec, pid, control)
    code = container.run()
    tell({"exit_code": code, "oom": container.oom})


if __name__ == "__main__":
    main()
