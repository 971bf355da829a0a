"""A process of its own receives and checks a large checkpoint, and tells what memory it took."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.work.made_checkpoints import (
    BLOB,
    COMMIT,
    TREE,
    commit_content,
    facts_text,
    object_id,
    raw_pack,
    stream_of,
    tree_content,
)

ROOT = Path(__file__).parents[3]
MEGABYTE = 1_000_000
PROGRAM = """
import asyncio, json, resource, sys
from pathlib import Path
from tasks.work.checkpoint_stream import CheckpointReceiver
from tasks.work.pack_check import check_work

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

folder, stream = Path(sys.argv[1]), Path(sys.argv[2])
receiver = CheckpointReceiver(folder, 200_000_000)
begun = peak()
with stream.open("rb") as source:
    while chunk := source.read(65_536):
        receiver.feed(chunk)
receiver.close()
checked = asyncio.run(check_work(folder))
print(json.dumps({
    "grown": peak() - begun,
    "git": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    "problem": checked.problem,
    "bundle": checked.bundle.size_bytes,
    "hashed": [blob.sha256 is not None for blob in checked.blobs.values()],
}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slice
def test_memory_stays_flat_with_a_pack_of_a_hundred_megabytes(tmp_path: Path) -> None:
    blob = os.urandom(MEGABYTE) * 100
    name = object_id("blob", blob)
    tree = tree_content(("100644", "file", name))
    commit = commit_content(object_id("tree", tree), "b" * 40)
    head = object_id("commit", commit)
    facts = {"version": "1", "base": "b" * 40, "head": head, "tree": head, "commits": "1"}
    parts = {
        "facts": facts_text(facts),
        "files": f":000000 100644 {'0' * 40} {name} A\0file\0\0".encode(),
        "pack": raw_pack([(COMMIT, b"", commit), (TREE, b"", tree), (BLOB, b"", blob)], level=0),
    }
    (tmp_path / "stream").write_bytes(stream_of(parts))
    (tmp_path / "folder").mkdir()

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "folder", tmp_path / "stream"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problem"] is None
    assert found["hashed"] == [True]
    assert found["bundle"] > 100 * MEGABYTE
    assert found["grown"] < 16 * MEGABYTE
    assert found["git"] < 80 * MEGABYTE
