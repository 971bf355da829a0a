"""The flow as the tests deploy it: its result storage can be told to let writes wait."""

import asyncio
from pathlib import Path

from prefect.filesystems import WritableFileSystem

from flows.run_agent import run_agent

__all__ = ["HeldFolder", "run_agent"]

ENTRYPOINT = "tests.faults.interruptions.held_runs.run_agent"
HOLD, HELD = "hold", "held"


class HeldFolder(WritableFileSystem):
    """A folder; while it has a file `hold`, writes wait and leave a file `held`."""

    _block_type_slug = "held-folder"

    folder: str

    async def write_path(self, path: str, content: bytes) -> None:
        root = Path(self.folder)
        while (root / HOLD).exists():
            (root / HELD).touch()
            await asyncio.sleep(0.05)
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_suffix(".part")
        aside.write_bytes(content)
        aside.replace(target)

    async def read_path(self, path: str) -> bytes:
        return (Path(self.folder) / path).read_bytes()
