"""WebDataset shards hold every key and every byte, for `webdataset` and for `datasets`."""

import logging
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import fsspec
import pytest
import webdataset

from storage_manager import InvalidDataError, InvalidIdError, StorageManager
from storage_manager.export import export_parquet, export_webdataset
from storage_manager.layout import COMPONENTS
from tests.support.exported import EXAMPLES, fill, small
from tests.support.roots import Make

# webdataset 1.0 leaves the shards that it has read to the garbage collector
LEFT_OPEN = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

Samples = dict[str, dict[str, bytes]]


def features(datasets: ModuleType) -> Any:
    """What docs/export.rst tells a user to load shards with."""
    kinds = {
        "observation.html": datasets.Value("binary"),
        "screenshot.png": datasets.Image(decode=False),
        "action.json": datasets.Json(),
        "metadata.json": datasets.Json(),
    }
    return datasets.Features({**kinds, "__key__": datasets.Value("string"), "__url__": datasets.Value("string")})


async def stored(storage: StorageManager, *, complete_only: bool) -> Samples:
    """The bytes of each step as they lie in the storage, by what a key says."""
    samples = {}
    async for step in storage.iter_steps():
        rows = [row for row in COMPONENTS if getattr(step.data, row.name) is not None]
        urls = {row.filename: storage.url_for(*step[:2], row.name) for row in rows}
        if rows and (len(rows) == len(COMPONENTS) or not complete_only):
            samples["/".join(step[:2])] = {name: storage.fs.cat_file(url) for name, url in urls.items()}
    return samples


def in_tar(paths: list[str]) -> Samples:
    """The samples of shards, by the tar format alone."""
    samples: Samples = {}
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                key, _, filename = name.partition(".")
                file = tar.extractfile(member)
                assert file
                samples.setdefault(unquote(f"{folder}/{key}"), {})[filename] = file.read()
    return samples


@LEFT_OPEN
@pytest.mark.parametrize("complete_only", [True, False])
async def test_webdataset_reads_every_key_and_byte(sm: StorageManager, tmp_path: Path, complete_only: bool) -> None:
    await fill(sm)
    urls = await export_webdataset(sm, f"{tmp_path}/out", shard_bytes=50_000, complete_only=complete_only)
    assert len(urls) > 2
    wanted = await stored(sm, complete_only=complete_only)
    assert len(wanted) == (9 if complete_only else 12)
    names = {row.filename for row in COMPONENTS}
    read = {
        unquote(sample["__key__"]): {name: data for name, data in sample.items() if name in names}
        for sample in webdataset.WebDataset(urls, shardshuffle=False)
    }
    assert read == wanted == in_tar(urls)
    assert list(read) == list(wanted)


@pytest.mark.parametrize("streaming", [True, False])
async def test_datasets_loads_recorded_sessions(
    local: StorageManager, tmp_path: Path, datasets: ModuleType, streaming: bool
) -> None:
    await local.store_steps(StorageManager(local_base_path=EXAMPLES).iter_steps())
    urls = await export_webdataset(local, f"{tmp_path}/out", shard_bytes=100_000)
    loaded = datasets.load_dataset(
        "webdataset", data_files={"train": urls}, split="train", streaming=streaming, cache_dir=f"{tmp_path}/cache"
    )
    steps = [step async for step in local.iter_steps()]
    samples = list(loaded.cast_column("screenshot.png", datasets.Image(decode=False)))
    assert [sample["__key__"] for sample in samples] == [f"{step.session_id}/{step.step_id}" for step in steps]
    for sample, step in zip(samples, steps, strict=True):
        assert sample["observation.html"].decode() == step.data.html
        assert sample["screenshot.png"]["bytes"] == step.data.screenshot
        assert {name: value for name, value in sample["action.json"].items() if value is not None} == step.data.action
        assert sample["metadata.json"] == step.data.metadata
    assert next(iter(loaded))["screenshot.png"].format == "PNG"


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.thorough
async def test_datasets_loads_any_steps_when_it_is_told_the_features(
    local: StorageManager, tmp_path: Path, datasets: ModuleType, streaming: bool
) -> None:
    """JSON of any shape, and steps that lack components; but no integer of more than 64 bits."""
    await fill(local)
    await local.delete_step("nasty", "deep")
    urls = await export_webdataset(local, f"{tmp_path}/out", complete_only=False)
    samples = datasets.load_dataset(
        "webdataset",
        data_files={"train": urls},
        split="train",
        streaming=streaming,
        cache_dir=f"{tmp_path}/cache",
        features=features(datasets),
    )
    steps = {f"{step.session_id}/{step.step_id}": step.data async for step in local.iter_steps()}
    assert [unquote(sample["__key__"]) for sample in samples] == list(steps)
    for sample in samples:
        html, image = sample["observation.html"], sample["screenshot.png"]
        data = steps[unquote(sample["__key__"])]
        assert (None if html is None else html.decode(), image and image["bytes"]) == data[:2]
        assert (sample["action.json"], sample["metadata.json"]) == data[2:]


@pytest.mark.thorough
async def test_datasets_without_features_needs_the_same_components_in_all(
    local: StorageManager, tmp_path: Path, datasets: ModuleType
) -> None:
    """Why complete_only is the default."""
    await small(local, 2)
    await local.store_step_data("s", "0000a", "no screenshot")
    urls = await export_webdataset(local, f"{tmp_path}/out", complete_only=False)
    with pytest.raises(ValueError, match="don't share the same prefix or the same types"):
        datasets.load_dataset("webdataset", data_files=urls, streaming=True)


async def test_the_same_steps_give_the_same_bytes(sm: StorageManager, tmp_path: Path) -> None:
    await fill(sm)
    first, second = [await export_webdataset(sm, f"{tmp_path}/{name}", shard_bytes=1) for name in "ab"]
    assert len(first) == len(second) == 9
    assert [Path(url).read_bytes() for url in first] == [Path(url).read_bytes() for url in second]
    with tarfile.open(first[0]) as tar:
        assert {(m.mtime, m.uid, m.gid, m.mode, m.uname, m.gname) for m in tar} == {(0, 0, 0, 0o644, "", "")}


async def test_long_ids_full_of_dots(local: StorageManager, tmp_path: Path) -> None:
    """Their names are longer than the tar format of 1988 can hold."""
    ids = "a." * 63 + "aa", "b" + "." * 126 + "b"
    await local.store_step_data(*ids, "x", b"y", {}, {})
    await local.store_step_data(ids[0].replace(".", ":"), ids[1], "x", b"y", {}, {})
    urls = await export_webdataset(local, f"{tmp_path}/out")
    assert list(in_tar(urls)) == ["/".join((name, ids[1])) for name in sorted((ids[0], ids[0].replace(".", ":")))]


async def test_a_shard_ends_with_the_step_that_fills_it(local: StorageManager, tmp_path: Path) -> None:
    await small(local, 10)
    await export_webdataset(local, f"{tmp_path}/out", shard_bytes=3 * 4 * 1024)
    counts = [len(in_tar([str(path)])) for path in sorted((tmp_path / "out").iterdir())]
    assert counts == [3, 3, 3, 1]


@pytest.mark.parametrize("url", ["out", "file://{tmp}/out/", "memory://shards-{tmp}/out"])
async def test_any_target(local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    await fill(local)
    urls = await export_webdataset(local, url.format(tmp=tmp_path), shard_bytes=100_000)
    root = f"{tmp_path}/out" if not url.startswith("memory") else url.format(tmp=tmp_path)
    assert urls == [f"{root}/shard-{number:06}.tar" for number in range(len(urls))]
    assert urls[2:]
    keys = {name.partition(".")[0] for file in fsspec.open_files(urls) for name in members(file)}
    assert {unquote(key) for key in keys} == set(await stored(local, complete_only=True))


def members(file: Any) -> list[str]:
    """The names in a shard, wherever it is."""
    with file as opened, tarfile.open(fileobj=opened) as tar:
        return tar.getnames()


@LEFT_OPEN
@pytest.mark.thorough
async def test_shards_in_a_bucket_are_streamed_through_fsspec(moto: Make) -> None:
    """As docs/export.rst has it, for URLs that `webdataset` does not open itself."""
    sm = moto(s3_prefix="sessions")
    await fill(sm)
    place = sm.url_for().removesuffix("sessions") + "out"
    urls = await export_webdataset(sm, place, storage_options=sm.storage_options, shard_bytes=100_000)
    assert await export_webdataset(sm, place, storage_options=sm.storage_options, shard_bytes=10**9) == urls[:1]
    streams = ({"url": url, "stream": sm.fs.open(url)} for url in urls[:1])
    samples = webdataset.tariterators.group_by_keys(webdataset.tariterators.tar_file_expander(streams))
    assert [unquote(sample["__key__"]) for sample in samples] == list(await stored(sm, complete_only=True))
    assert [path.rpartition("/")[2] for path in sm.fs.find(place)] == ["shard-000000.tar"]


async def test_what_is_left_out_is_told(
    local: StorageManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(local)

    async def told(*session_ids: str, complete_only: bool = True) -> list[tuple[int, str]]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "storage_manager.export"):
            await export_webdataset(local, f"{tmp_path}/out", session_ids, complete_only=complete_only)
        name = "storage_manager.export.webdataset"
        return [(record.levelno, record.getMessage()) for record in caplog.records if record.name == name]

    why = f"left out of the export to {tmp_path}/out, because they lack a component: use complete_only=False to export"
    left_out = (logging.WARNING, f"2 steps are {why} what is there")
    unreadable = (logging.WARNING, f"3 components could not be read for the export to {tmp_path}/out")
    assert await told("nasty") == [left_out]
    assert await told("nasty", "unreadable") == [(logging.WARNING, left_out[1].replace("2", "3", 1)), unreadable]
    assert await told("unreadable", complete_only=False) == [unreadable]
    assert await told("nasty", complete_only=False) == []


async def test_where_no_step_is_complete_or_a_session_is_misnamed_nothing_is_replaced(
    local: StorageManager, tmp_path: Path
) -> None:
    await fill(local)
    before = await export_webdataset(local, f"{tmp_path}/out")
    with pytest.raises(InvalidDataError, match="each of the 1 steps lacks a component; use complete_only=False"):
        await export_webdataset(local, f"{tmp_path}/out", ["unreadable"])
    for export in (export_webdataset, export_parquet):
        with pytest.raises(InvalidDataError, match=r"these sessions have no steps: nasti\. Nothing was changed"):
            await export(local, f"{tmp_path}/out", (name for name in ("nasty", "nasti")))
    assert [f"{tmp_path}/out/{path.name}" for path in (tmp_path / "out").iterdir()] == before


async def test_no_steps_are_no_shards(local: StorageManager, tmp_path: Path) -> None:
    assert await export_webdataset(local, f"{tmp_path}/none") == []
    await small(local, 3)
    assert len(await export_webdataset(local, f"{tmp_path}/out", shard_bytes=1)) == 3
    (tmp_path / "out/README").write_text("mine")
    assert await export_webdataset(local, f"{tmp_path}/out", []) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["README"]


@pytest.mark.parametrize(
    ("wrong", "kind", "match"),
    [
        ({"session_ids": "s"}, InvalidIdError, "give a list"),
        ({"shard_bytes": 0}, InvalidDataError, "shard_bytes must be at least 1, not 0"),
        ({"url": "{tmp}/base/out"}, InvalidDataError, "it is inside the storage root"),
    ],
)
async def test_bad_input_is_refused(
    local: StorageManager, tmp_path: Path, wrong: dict[str, Any], kind: type[Exception], match: str
) -> None:
    arguments = {"url": "{tmp}/out", **wrong}
    with pytest.raises(kind, match=match):
        await export_webdataset(local, **{**arguments, "url": arguments["url"].format(tmp=tmp_path)})
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
