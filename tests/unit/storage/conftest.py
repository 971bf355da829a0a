from collections.abc import Generator
from pathlib import Path

import pytest

from tasks.storage.block_storage import BlockStorage
from tests.unit.storage.object_stores import BLOCK_KINDS, S3Server, make_block, running_s3_server


@pytest.fixture(scope="package")
def s3_server() -> Generator[S3Server, None, None]:
    with running_s3_server() as server:
        yield server


@pytest.fixture(params=BLOCK_KINDS)
def block_storage(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path: Path
) -> BlockStorage:
    return BlockStorage("kind/name", make_block(request.param, s3_server, tmp_path))
