import io
import random
import tarfile
from hashlib import sha256

import pytest

from tasks.claude_code.agent_spec import Skill
from tasks.claude_code.bundle import build_bundle
from tasks.vocabulary.errors import InputInvalid

REVIEW = Skill(name="review", files={"SKILL.md": "Look.", "bin/run.sh": "#!/bin/sh\n", "ü": "x"})
DEPLOY = Skill(name="deploy", files={"SKILL.md": "Ship."})


def test_bundle_holds_instructions_and_skills() -> None:
    bundle = build_bundle("Be nice.", [REVIEW, DEPLOY])

    assert bundle is not None
    assert bundle.sha256 == sha256(bundle.archive).hexdigest()
    assert bundle.has_instructions
    with tarfile.open(fileobj=io.BytesIO(bundle.archive)) as archive:
        members = {
            member.name: (oct(member.mode), (archive.extractfile(member) or io.BytesIO()).read())
            for member in archive
        }
    assert members == {
        ".claude/skills/deploy/SKILL.md": ("0o644", b"Ship."),
        ".claude/skills/review/SKILL.md": ("0o644", b"Look."),
        ".claude/skills/review/bin/run.sh": ("0o755", b"#!/bin/sh\n"),
        ".claude/skills/review/ü": ("0o644", b"x"),
        "instructions.md": ("0o644", b"Be nice."),
    }


def test_bundle_of_the_same_content_is_the_same() -> None:
    assert build_bundle("x", [REVIEW, DEPLOY]) == build_bundle("x", [DEPLOY, REVIEW])


def test_bundle_of_other_content_has_another_name() -> None:
    one, other = build_bundle("x", []), build_bundle("y", [])

    assert one is not None
    assert other is not None
    assert one.sha256 != other.sha256


@pytest.mark.parametrize("instructions", [None, "", " \n"])
def test_bundle_of_nothing_is_none(instructions: str | None) -> None:
    assert build_bundle(instructions, []) is None


def test_bundle_of_skills_alone_has_no_instructions() -> None:
    bundle = build_bundle(" ", [DEPLOY])

    assert bundle is not None
    assert not bundle.has_instructions


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param(random.Random(1).randbytes(600_000).hex(), "bytes packed", id="packed"),
        pytest.param("x" * (17 << 20), "17,825,792 bytes,", id="unpacked"),
    ],
)
def test_bundle_that_is_too_large_is_refused_with_a_way_out(text: str, size: str) -> None:
    with pytest.raises(InputInvalid) as refusal:
        build_bundle(text, [])

    assert size in str(refusal.value)
    assert "--add-dir" in str(refusal.value)
