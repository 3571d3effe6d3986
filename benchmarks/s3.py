"""The contestants on S3.

Bare obstore is the limit, to which the others are compared. They are s3fs, boto3, cloudpathlib, and this library with
its two engines and its two faces. The limit of copies is the program rclone. Each has its default settings, except for
the endpoint, its certificate and the region. The credentials come from the environment.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import local
from benchmarks.contestants import Asynchronous, Location
from benchmarks.steps import (
    ATTACHMENT,
    CONTENT_TYPES,
    FILENAMES,
    METADATA,
    STEP,
    StepData,
    decode,
    encode,
    folders,
    in_flight,
    names,
)

__all__ = ["S3", "TLS", "Rclone"]

THREADS = 32
REGION = "us-east-1"


def _verified(location: Location) -> dict[str, Any]:
    """Return the option that tells botocore the CA file of the endpoint."""
    return {"verify": location.authority} if location.authority else {}


class Obstore(Asynchronous):
    """obstore alone, which is the fastest S3 client for Python. This is the limit."""

    name = "obstore"

    async def connect(self) -> None:
        import obstore  # noqa: PLC0415 - a worker loads only its own library
        from obstore.store import S3Store  # noqa: PLC0415

        self.obstore: Any = obstore
        client: Any = {"allow_http": True} if str(self.location.endpoint).startswith("http:") else {}
        if self.location.authority:
            client["root_certificate"] = Path(self.location.authority).read_bytes()  # noqa: ASYNC240 - once
        keys: Any = {
            "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
        address: Any = {"endpoint": self.location.endpoint, "region": REGION, "virtual_hosted_style_request": False}
        self.bucket = S3Store(self.location.bucket, client_options=client, **address, **keys)

    async def put(self, session: str, step: str, data: StepData) -> None:
        rows = zip(FILENAMES, encode(data), CONTENT_TYPES, strict=True)
        base = f"{self.root}/{session}/{step}"
        await asyncio.gather(*(self._put(f"{base}/{name}", content, kind) for name, content, kind in rows))

    async def _put(self, key: str, content: bytes, content_type: str) -> None:
        await self.obstore.put_async(self.bucket, key, content, attributes={"Content-Type": content_type})

    async def get(self, session: str, step: str) -> StepData:
        keys = [f"{self.root}/{session}/{step}/{filename}" for filename in FILENAMES]
        return decode(await asyncio.gather(*map(self._get, keys)))

    async def _get(self, key: str) -> bytes:
        answer = await self.obstore.get_async(self.bucket, key)
        content: bytes = (await answer.bytes_async()).to_bytes()
        return content

    async def names(self, *session: str) -> list[str]:
        listed = await self.obstore.list_with_delimiter_async(self.bucket, "/".join((self.root, *session)))
        return [prefix.rpartition("/")[2] for prefix in listed["common_prefixes"]]

    async def remove(self, session: str) -> None:
        rows = await self.obstore.list(self.bucket, f"{self.root}/{session}").collect_async()
        await self.obstore.delete_async(self.bucket, [row["path"] for row in rows])

    def count(self, session: str) -> int:
        return self.list_steps(session)

    def fill(self, sessions: int, steps: int) -> int:
        keys = (f"{self.root}/{folder}/{FILENAMES[3]}" for folder in folders(sessions, steps))
        self.run(in_flight(lambda key: self._put(key, METADATA, CONTENT_TYPES[3]), keys, THREADS))
        return 0

    def attach(self, session: str, files: Sequence[str]) -> int:
        keys = [f"{self.root}/{session}/_files/{file}" for file in files]
        self.run(in_flight(lambda key: self._put(key, ATTACHMENT, "application/octet-stream"), keys, 1))
        return len(files)

    def retrieve_attached(self, session: str, files: Sequence[str]) -> int:
        return self.run(self._retrieve_attached([f"{self.root}/{session}/_files/{file}" for file in files]))

    async def _retrieve_attached(self, keys: Iterable[str]) -> int:
        return sum([len(await self._get(key)) for key in keys])

    def make_source(self, source: str, steps: int) -> int:
        directory = local.Plain(self.location, f"{self.location.directory}/{source}")
        if not directory.count("s"):
            for step in names("t", steps):
                directory.put("s", step, STEP)
        return 0


class Rclone(Obstore):
    """The program rclone, which copies. Everything around the copy is done by obstore."""

    name = "rclone"
    has_all_rows = False

    def copy(self, source: str) -> int:
        where = {"provider": "Other", "endpoint": str(self.location.endpoint), "region": REGION, "env_auth": "true"}
        settings = {f"RCLONE_S3_{name.upper()}": value for name, value in where.items()}
        environment = {**os.environ, **settings}
        if authorities := environment.pop("AWS_CA_BUNDLE", None):  # rclone fails if this variable is set
            environment["RCLONE_CA_CERT"] = authorities
        command = ["rclone", "copy", "--config=", f"{self.location.directory}/{source}"]
        return _run([*command, f":s3:{self.location.bucket}/{self.root}"], environment)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program, and return 0.

    Raises:
        OSError: it failed. The error has what it wrote.
    """
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return 0


class StockS3fs(Asynchronous):
    """s3fs with its default settings."""

    name = "s3fs"

    async def connect(self) -> None:
        import s3fs  # noqa: PLC0415

        client = {"region_name": REGION, **_verified(self.location)}
        self.files = s3fs.S3FileSystem(asynchronous=True, endpoint_url=self.location.endpoint, client_kwargs=client)
        self.base = f"{self.location.bucket}/{self.root}"

    async def put(self, session: str, step: str, data: StepData) -> None:
        rows = zip(FILENAMES, encode(data), strict=True)
        folder = f"{self.base}/{session}/{step}"
        await asyncio.gather(*(self.files._pipe_file(f"{folder}/{filename}", content) for filename, content in rows))

    async def get(self, session: str, step: str) -> StepData:
        paths = [f"{self.base}/{session}/{step}/{filename}" for filename in FILENAMES]
        return decode(await asyncio.gather(*map(self.files._cat_file, paths)))

    async def names(self, *session: str) -> list[str]:
        # Without refresh it would answer from its cache, and miss the sessions of other contestants.
        paths = await self.files._ls("/".join((self.base, *session)), detail=False, refresh=True)
        return sorted(path.rpartition("/")[2] for path in paths)

    async def remove(self, session: str) -> None:
        self.files.invalidate_cache()
        await self.files._rm(f"{self.base}/{session}", recursive=True)


class _Threaded(Asynchronous):
    """A blocking library, used through threads."""

    async def connect(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS)

    async def _each(self, function: Callable[..., Any], *columns: Iterable[Any]) -> list[Any]:
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(self.threads, function, *row) for row in zip(*columns, strict=True))
        return await asyncio.gather(*calls)

    async def put(self, session: str, step: str, data: StepData) -> None:
        keys = (f"{self.root}/{session}/{step}/{filename}" for filename in FILENAMES)
        await self._each(self.write, keys, encode(data), CONTENT_TYPES)

    async def get(self, session: str, step: str) -> StepData:
        return decode(await self._each(self.read, [f"{self.root}/{session}/{step}/{name}" for name in FILENAMES]))

    async def names(self, *session: str) -> list[str]:
        [found] = await self._each(self.list_names, ["/".join((self.root, *session))])
        return list(found)

    async def remove(self, session: str) -> None:
        await self._each(self.remove_all, [f"{self.root}/{session}"])

    write: Callable[[str, bytes, str], object]
    read: Callable[[str], bytes]
    list_names: Callable[[str], list[str]]
    remove_all: Callable[[str], object]


class Boto3(_Threaded):
    """A boto3 client with one connection per thread."""

    name = "boto3 in threads"

    async def connect(self) -> None:
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        await super().connect()
        config = Config(max_pool_connections=THREADS)
        self.client = boto3.client("s3", endpoint_url=self.location.endpoint, region_name=REGION, config=config)

    def write(self, key: str, content: bytes, content_type: str) -> None:
        self.client.put_object(Bucket=self.location.bucket, Key=key, Body=content, ContentType=content_type)

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.location.bucket, Key=key)["Body"].read())

    def _pages(self, prefix: str, **more: str) -> Iterable[dict[str, Any]]:
        pages = self.client.get_paginator("list_objects_v2")
        return pages.paginate(Bucket=self.location.bucket, Prefix=prefix + "/", **more)  # type: ignore[no-any-return]

    def list_names(self, prefix: str) -> list[str]:
        pages = self._pages(prefix, Delimiter="/")
        prefixes = (row["Prefix"] for page in pages for row in page.get("CommonPrefixes", ()))
        return sorted(prefix[:-1].rpartition("/")[2] for prefix in prefixes)

    def remove_all(self, prefix: str) -> None:
        for page in self._pages(prefix):
            keys = [{"Key": row["Key"]} for row in page.get("Contents", ())]
            answer = self.client.delete_objects(Bucket=self.location.bucket, Delete={"Objects": keys, "Quiet": True})
            if "Errors" in answer:
                raise OSError(str(answer["Errors"][0]))


class Cloudpathlib(_Threaded):
    """cloudpathlib. It drops a cached file when the file is closed, or else a second read would send no request."""

    name = "cloudpathlib in threads"

    async def connect(self) -> None:
        import boto3  # noqa: PLC0415
        from cloudpathlib import S3Client  # noqa: PLC0415
        from cloudpathlib.enums import FileCacheMode  # noqa: PLC0415

        await super().connect()
        cache = tempfile.mkdtemp(prefix="cache-", dir=self.location.directory)
        session = boto3.Session(region_name=REGION)
        self.client = S3Client(
            endpoint_url=self.location.endpoint,
            boto3_session=session,
            local_cache_dir=cache,
            file_cache_mode=FileCacheMode.close_file,
        )

    def _path(self, key: str) -> Any:
        return self.client.CloudPath(f"s3://{self.location.bucket}/{key}")

    def write(self, key: str, content: bytes, content_type: str) -> None:
        self._path(key).write_bytes(content)  # cloudpathlib guesses the content type from the suffix

    def read(self, key: str) -> bytes:
        return bytes(self._path(key).read_bytes())

    def list_names(self, prefix: str) -> list[str]:
        return sorted(path.name for path in self._path(prefix).iterdir())

    def remove_all(self, prefix: str) -> None:
        self._path(prefix).rmtree()


def _options(location: Location, root: str, engine: str) -> dict[str, Any]:
    """Return the arguments for StorageManager."""
    settings = {"s3_bucket_name": location.bucket, "s3_prefix": root, "s3_endpoint_url": location.endpoint}
    verified = {"storage_options": {"client_kwargs": _verified(location)}} if location.authority else {}
    return {**settings, "s3_region_name": REGION, "s3_engine": engine, **verified}


class OursOnS3fs(local.Ours):
    """This library with its engine "s3fs". A copy is made by its command line."""

    name = "ours on s3fs"
    engine = "s3fs"

    def options(self) -> dict[str, Any]:
        return _options(self.location, self.root, self.engine)

    def copy(self, source: str) -> int:
        settings = {"SM_S3_ENDPOINT_URL": str(self.location.endpoint), "SM_S3_REGION": REGION}
        command = [sys.executable, "-m", "storage_manager", "cp", "--quiet", f"{self.location.directory}/{source}"]
        target = f"s3://{self.location.bucket}/{self.root}"
        return _run([*command, target], {**os.environ, **settings, "SM_S3_ENGINE": self.engine})


class OursOnObstore(OursOnS3fs):
    """This library with its engine "obstore"."""

    name = "ours on obstore"
    engine = "obstore"


class OursSyncOnObstore(local.OursSync):
    """The class of the module `sync` with the engine "obstore"."""

    name = "ours on obstore, sync"

    def options(self) -> dict[str, Any]:
        return _options(self.location, self.root, "obstore")


S3 = (Obstore, StockS3fs, Boto3, Cloudpathlib, Rclone, OursOnS3fs, OursOnObstore, OursSyncOnObstore)
TLS = (Obstore, StockS3fs, OursOnS3fs, OursOnObstore)
