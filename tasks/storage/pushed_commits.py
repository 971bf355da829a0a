"""Which commits were pushed to an agent's branch: noted before each push, read before the next.

Who finds one of them on the branch may replace it; any other commit is somebody else's.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StoredObjectMissing

_MOST_COMMITS = 50


class PushedCommits(BaseModel):
    """What is noted about a branch.

    Attributes:
        commits: The latest last.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    remote: str
    branch: str
    commits: tuple[str, ...] = ()


class StoredPushes:
    """The note of one branch of one remote, in the result storage."""

    def __init__(self, storage: ResultStorage, key: str, remote: str, branch: str) -> None:
        self._storage = storage
        self._key = key
        self._remote = remote
        self._branch = branch

    async def read(self) -> tuple[str, ...]:
        """Return the commits that were pushed, or were about to be; none if no note can be read.

        Raises:
            Exception: Whatever the storage raises.
        """
        try:
            noted = PushedCommits.model_validate_json(await self._storage.read(self._key))
        except (StoredObjectMissing, ValidationError):
            return ()
        if (noted.remote, noted.branch) != (self._remote, self._branch):
            return ()
        return noted.commits

    async def add(self, commit: str) -> None:
        """Note a commit that is about to be pushed; what the storage raises is passed on."""
        before = [known for known in await self.read() if known != commit]
        noted = PushedCommits(
            remote=self._remote,
            branch=self._branch,
            commits=(*before[-_MOST_COMMITS + 1 :], commit),
        )
        await self._storage.write(self._key, noted.model_dump_json().encode())
