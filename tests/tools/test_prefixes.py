"""Prefixes with characters that mean something in other URLs: every tool opens what was stored below them."""

import fsspec
import pandas as pd
import pytest

from storage_manager import StorageManager
from tests.support.roots import Make

PREFIXES = ["h#1", "a%20b", "a b", "a&b=c;d", "a+b,c", "é/日", "a:b@c", "{a}$x"]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_every_tool_opens_what_is_below_a_prefix(moto: Make, prefix: str) -> None:
    sm = moto(s3_prefix=prefix)
    await sm.store_step_data("s", "t", metadata={"n": 1})
    url, options = sm.url_for("s", "t", "metadata"), sm.storage_options
    again = StorageManager.from_url(sm.url_for(), s3_endpoint_url=options["endpoint_url"])
    assert (await again.retrieve_step_data("s", "t")).metadata == {"n": 1}
    assert pd.read_json(url, lines=True, storage_options=options).to_dict("records") == [{"n": 1}]
    with fsspec.open(url, **options) as file:
        assert file.read() == b'{"n":1}\n'
    info = sm.get_storage_info()
    ours = fsspec.filesystem(
        "sm", s3_bucket_name=info["s3_bucket"], s3_prefix=prefix, s3_endpoint_url=options["endpoint_url"]
    )
    assert ours.cat("s/t/metadata.json") == b'{"n":1}\n'
    assert ours.ls("s", detail=False) == ["s/t"]
    assert ours.glob("*/*/metadata.json") == ["s/t/metadata.json"]
    ours.pipe("s/t/action.json", b"{}")
    assert (await sm.retrieve_step_data("s", "t")).action == {}
    ours.rm("s", recursive=True)
    assert await sm.list_sessions() == []
