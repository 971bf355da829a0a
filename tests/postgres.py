"""A temporary PostgreSQL, as Prefect's servers use it in production."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.cli.local_processes import free_port
from tests.waits import wait_until

_START_SECONDS = 60
# Nothing here outlives the machine, so nothing waits for the disk.
_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs; Debian has them in none of PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ["PATH"], *map(str, folders)])
    found = shutil.which("initdb", path=path)
    return Path(found).resolve().parent if found else None


@contextmanager
def run_postgres(programs: Path) -> Generator[str]:
    """Run a server on an empty database; gives its URL as Prefect takes it."""
    with tempfile.TemporaryDirectory(prefix="claude-jobs-postgres-") as name:
        folder, port = Path(name), free_port()
        as_user = _other_user(folder)
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "prefect", "-A", "trust", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            **as_user,
        )
        command = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port)]
        settings = [
            word for one in (*_SETTINGS, "unix_socket_directories=") for word in ("-c", one)
        ]
        with (folder / "postgres.log").open("wb") as log:
            process = subprocess.Popen([*command, *settings], stdout=log, stderr=log, **as_user)
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        try:
            wait_until(
                lambda: subprocess.run(ready, check=False).returncode == 0,
                _START_SECONDS,
                describe=(folder / "postgres.log").read_text,
            )
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait(timeout=_START_SECONDS)


def _other_user(folder: Path) -> dict[str, Any]:
    """Give the folder to another user where this is root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {"cwd": folder}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    groups: list[int] = []
    return {
        "cwd": folder,
        "user": nobody.pw_uid,
        "group": nobody.pw_gid,
        "extra_groups": groups,
    }
