"""What a storage's libraries raise, translated: the one place that knows their errors.

StorageError
├── StoredObjectMissing  nothing is stored under the key
└── StorageMissing       the bucket or container itself does not exist

Every other error of a library is passed on as it is. The libraries are those of Prefect's blocks
(boto3, google-cloud-storage, azure-storage-blob, fsspec); none is imported, so none need be
installed. An error is known by its class and its fields, never by its text.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Any


class StorageError(Exception):
    """A storage does not have what was asked for; `str()` is the sentence people read."""


class StoredObjectMissing(StorageError):
    """Nothing is stored under the key."""


class StorageMissing(StorageError):
    """The bucket or container that should hold the objects does not exist."""

    def __init__(self, description: str) -> None:
        super().__init__(
            f"The bucket or container of {description} does not exist; create it, or correct the "
            "name in the block."
        )


class Absence(Enum):
    """What an error says is not there."""

    OBJECT = "object"
    PLACE = "bucket or container"
    # A HEAD request's 404 has no body, and Google's has no field that tells them apart.
    EITHER = "either"


# S3's error codes, those of compatible servers included; HEAD answers have only the status.
_S3_CODES = {
    "NoSuchKey": Absence.OBJECT,
    "NoSuchBucket": Absence.PLACE,
    "404": Absence.EITHER,
    "NotFound": Absence.EITHER,
}
# Azure's: Blob Storage, then Data Lake Storage.
_AZURE_CODES = {
    "BlobNotFound": Absence.OBJECT,
    "ContainerNotFound": Absence.PLACE,
    "PathNotFound": Absence.OBJECT,
    "FilesystemNotFound": Absence.PLACE,
}
_NOT_FOUND = 404
# Longer chains are taken for circles.
_CAUSES_LIMIT = 16


def find_absence(error: BaseException) -> Absence | None:
    """Return what is not there according to an error; `None` if the error is another one.

    Blocks wrap what their libraries raise, so the causes count too: the outermost error that is
    known decides, and a missing bucket anywhere below it explains a missing object.
    """
    found: Absence | None = None
    for link in _chain(error):
        absence, is_known = _judge(link)
        if absence is Absence.PLACE:
            return absence
        if found is None and is_known:
            if absence is None:
                return None
            found = absence
    return found


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_CAUSES_LIMIT):
        if link is None:
            return
        yield link
        link = link.__cause__


def _judge(error: BaseException) -> tuple[Absence | None, bool]:
    """Return what an error says is not there, and whether it is of a kind that is known here."""
    raised: Any = error
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__}
    if ("botocore", "ClientError") in kinds:
        return _S3_CODES.get(str(raised.response.get("Error", {}).get("Code"))), True
    if ("google", "GoogleAPICallError") in kinds:
        return Absence.EITHER if raised.code == _NOT_FOUND else None, True
    if ("azure", "HttpResponseError") in kinds:
        if raised.status_code != _NOT_FOUND:
            return None, True
        code = getattr(raised, "error_code", None)
        return _AZURE_CODES.get(str(getattr(code, "value", code)), Absence.EITHER), True
    if isinstance(error, OSError):
        return Absence.EITHER if isinstance(error, FileNotFoundError) else None, True
    return None, False
