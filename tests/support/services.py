"""A quirky S3 server together with a manager of an empty bucket there."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from storage_manager import StepData, StorageManager
from tests.support.quirky_s3 import Quirk, QuirkyS3

BUCKET = "sessions"
DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})
FILES = {
    "observation.html": b"<p>",
    "screenshot.png": b"\x89PNG",
    "action.json": b'{"a":1}\n',
    "metadata.json": b'{"m":1}\n',
}
SIZE = sum(map(len, FILES.values()))


class Service(NamedTuple):
    """A server, and a manager of an empty bucket there."""

    server: QuirkyS3
    sm: StorageManager

    @property
    def objects(self) -> dict[str, bytes]:
        """The stored objects, without a request."""
        return {key: stored.data for key, stored in self.server.buckets[BUCKET].items()}

    def put(self, *keys: str, modified: datetime | None = None) -> None:
        """Store objects without a request; those of a step have the bytes of DATA, others none."""
        for key in keys:
            self.server.put(BUCKET, key, FILES.get(key.rpartition("/")[2], b""), modified)

    def put_steps(self, *steps: str, modified: datetime | None = None) -> None:
        """Store steps, each named `session/step`, with all components."""
        self.put(*(f"{step}/{name}" for step in steps for name in FILES), modified=modified)


Serve = Callable[..., Service]


def ids(quirks: Collection[Quirk]) -> str:
    """Name a set of quirks as a parameter of a test."""
    return " ".join(quirk.value for quirk in quirks) or "none"


def manager(server: QuirkyS3, bucket: str = BUCKET, **options: Any) -> StorageManager:
    """Return a manager of a new bucket at a server."""
    server.buckets.setdefault(bucket, {})
    return StorageManager(bucket, s3_endpoint_url=server.url, **options)


# For tests of what obstore inherits: listing, deleting and links.
inherited = pytest.mark.parametrize(
    "engine", ["s3fs", pytest.param("obstore", marks=pytest.mark.thorough)], indirect=True
)
