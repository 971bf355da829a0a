"""Real storages behind the real blocks: an S3 server, a folder, memory."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from moto.server import ThreadedMotoServer
from prefect.filesystems import LocalFileSystem, RemoteFileSystem, WritableFileSystem
from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket

KEY, SECRET, REGION = "test-key", "test-secret", "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """Moto's S3 server, spoken to over HTTP."""

    url: str

    def new_bucket(self) -> str:
        name = f"results-{uuid4().hex}"
        self.client().create_bucket(Bucket=name)
        return name

    def client(self) -> Any:
        # boto3 carries no annotations.
        return cast("Any", self.s3_block("results").credentials).get_s3_client()

    def s3_block(self, bucket: str, folder: str = "") -> S3Bucket:
        return S3Bucket(
            bucket_name=bucket,
            bucket_folder=folder,
            credentials=AwsCredentials.model_validate(
                {
                    "aws_access_key_id": KEY,
                    "aws_secret_access_key": SECRET,
                    "region_name": REGION,
                    "aws_client_parameters": {"endpoint_url": self.url},
                }
            ),
        )

    def minio_block(self, bucket: str) -> S3Bucket:
        credentials = MinIOCredentials.model_validate(
            {
                "minio_root_user": KEY,
                "minio_root_password": SECRET,
                "region_name": REGION,
                "aws_client_parameters": {"endpoint_url": self.url},
            }
        )
        return S3Bucket(bucket_name=bucket, credentials=credentials)

    def remote_block(self, bucket: str, folder: str = "remote") -> RemoteFileSystem:
        settings = {
            "key": KEY,
            "secret": SECRET,
            "client_kwargs": {"endpoint_url": self.url, "region_name": REGION},
        }
        return RemoteFileSystem(basepath=f"s3://{bucket}/{folder}", settings=settings)


@contextmanager
def running_s3_server() -> Generator[S3Server, None, None]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()


BLOCK_KINDS = ("s3", "s3 folder", "minio", "remote s3", "remote memory", "local")


def make_block(kind: str, server: S3Server, folder: Path) -> WritableFileSystem:
    """Return a block of a kind in whose place nothing is stored yet."""
    match kind:
        case "s3":
            return server.s3_block(server.new_bucket())
        case "s3 folder":
            return server.s3_block(server.new_bucket(), "of/agents")
        case "minio":
            return server.minio_block(server.new_bucket())
        case "remote s3":
            return server.remote_block(server.new_bucket())
        case "remote memory":
            return RemoteFileSystem(basepath=f"memory://{uuid4().hex}")
        case _:
            return LocalFileSystem(basepath=str(folder))
