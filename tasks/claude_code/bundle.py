"""Skills and instructions as one archive that travels in the run's Secret beside the prompt.

The archive is named by its SHA-256, which the run script checks before Claude starts. The same
content makes the same archive: sorted names, no times, no owners.
"""

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from tasks.claude_code.agent_spec import Skill
from tasks.vocabulary.errors import InputInvalid

INSTRUCTIONS_FILE = "instructions.md"
# Claude Code looks for skills there in every folder it is given.
_SKILLS_FOLDER = ".claude/skills"

# The Secret holds 900 KiB in all; prompt, scripts and MCP configuration need the rest.
ARCHIVE_LIMIT_BYTES = 512 * 1024
# It is unpacked beside the copy of the transcript.
UNPACKED_LIMIT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """A gzipped tar archive.

    Attributes:
        sha256: Over `archive`, lowercase hex.
        has_instructions: The archive holds `INSTRUCTIONS_FILE`.
    """

    archive: bytes
    sha256: str
    has_instructions: bool


def build_bundle(instructions: str | None, skills: Sequence[Skill]) -> Bundle | None:
    """Return the bundle, or `None` when there is nothing to pack; blank instructions are nothing.

    Raises:
        InputInvalid: More than fits into a Secret.
    """
    files = {
        f"{_SKILLS_FOLDER}/{skill.name}/{path}": text.encode()
        for skill in skills
        for path, text in skill.files.items()
    }
    has_instructions = bool(instructions and instructions.strip())
    if instructions is not None and has_instructions:
        files[INSTRUCTIONS_FILE] = instructions.encode()
    if not files:
        return None
    unpacked_bytes = sum(map(len, files.values()))
    archive = _pack(files) if unpacked_bytes <= UNPACKED_LIMIT_BYTES else b""
    if not archive or len(archive) > ARCHIVE_LIMIT_BYTES:
        size = f"{len(archive):,} bytes packed" if archive else f"{unpacked_bytes:,} bytes"
        raise InputInvalid(
            f"Skills and instructions are too large to travel in a Secret: {size}, at most "
            f"{ARCHIVE_LIMIT_BYTES:,} packed and {UNPACKED_LIMIT_BYTES:,} unpacked; put them into "
            "the image or a volume and name their folder with --add-dir in extra_args."
        )
    return Bundle(archive, sha256(archive).hexdigest(), has_instructions)


def _pack(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    # An empty file name and no time, or gzip would note both.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=9) as zipped,
        tarfile.open(mode="w", fileobj=zipped, format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size = len(files[path])
            member.mode = 0o755 if files[path].startswith(b"#!") else 0o644
            archive.addfile(member, io.BytesIO(files[path]))
    return packed.getvalue()
