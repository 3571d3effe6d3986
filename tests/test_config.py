"""Configuration: argument, then SM_* variable, then default; wrong on its face is refused, never repeated."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from storage_manager import LocalStorageError, S3ConfigError, StorageManager, StorageManagerError
from storage_manager.config import Config

SETTINGS = {
    # argument: (variable, default, in the variable, its value, as an argument)
    "s3_bucket_name": ("SM_S3_BUCKET_NAME", None, "from-variable", "from-variable", "from-argument"),
    "s3_region_name": ("SM_S3_REGION", "us-west-2", "eu-west-1", "eu-west-1", "eu-north-1"),
    "local_base_path": ("SM_LOCAL_BASE_PATH", os.path.abspath(".storage_data"), "/variable", "/variable", "/argument"),
    "prefer_s3": ("SM_PREFER_S3", True, "false", False, True),
    "s3_prefix": ("SM_S3_PREFIX", "", "/from/variable/", "from/variable", "argument"),
    "s3_endpoint_url": ("SM_S3_ENDPOINT_URL", None, "http://variable:1", "http://variable:1", "https://argument"),
    "require_s3": ("SM_REQUIRE_S3", False, "0", False, False),
    "s3_engine": ("SM_S3_ENGINE", "s3fs", "s3fs", "s3fs", "s3fs"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_argument_then_variable_then_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable, default, text, value, argument = SETTINGS[name]
    field = variable.removeprefix("SM_").lower()
    assert getattr(Config.resolve(), field) == default
    monkeypatch.setenv(variable, text)
    assert getattr(Config.resolve(), field) == value
    assert getattr(Config.resolve(**{name: None}), field) == value
    assert getattr(Config.resolve(**{name: argument}), field) == argument
    monkeypatch.setenv(variable, "")
    assert getattr(Config.resolve(), field) == default


WRONG: list[tuple[str, Any]] = [
    *(
        ("s3_bucket_name", name)
        for name in ("", "Upper", "under_score", "ab", "x" * 64, "a..b", "-a", "a-", "10.0.0.1")
    ),
    *(
        ("s3_endpoint_url", url)
        for url in ("host:9000", "ftp://host", "http://", "http://u:planted@host", "http://h?q")
    ),
    *(("s3_endpoint_url", url) for url in ("http://h:port", "http://h#f", "http://ho st", "http://[", "")),
    *(("s3_region_name", name) for name in ("", "us_west", "-a", "a-", "a" * 64, "eu west")),
    *(("s3_prefix", text) for text in ("a*", "a?", "a[b", "a//b", "a/../b", ".", "a::b", "a\nb", "\\", "x" * 701)),
    ("s3_engine", "planted"),
    ("prefer_s3", "planted"),
    ("require_s3", "planted"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_is_wrong_on_its_face(name: str, value: Any) -> None:
    """Each error names the setting and its variable, and no error of its chain repeats the value."""
    with pytest.raises(S3ConfigError, match=rf"{name} \({SETTINGS[name][0]}\)") as caught:
        StorageManager(**{"s3_bucket_name": "a-bucket", name: value})
    assert caught.value.operation == "configure"
    error: BaseException | None = caught.value
    while error is not None:
        assert "planted" not in str(error) + repr(error)
        error = error.__cause__


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        StorageManager(bucket="x")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="max_concurrency"):
        StorageManager("a-bucket", max_concurrency=0)


@pytest.mark.parametrize("arguments", [{}, {"s3_bucket_name": "a-bucket", "prefer_s3": False}])
def test_require_s3_is_no_fallback(arguments: dict[str, Any]) -> None:
    with pytest.raises(S3ConfigError, match="require_s3"):
        StorageManager(require_s3=True, **arguments)


def test_fallback_to_local_disk_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sm = StorageManager(local_base_path=tmp_path / "new")
    assert (tmp_path / "new").is_dir()
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert sm.get_storage_info() == {
        "uses_s3": False,
        "s3_bucket": None,
        "s3_region": None,
        "local_base_path": str(tmp_path / "new"),
        "effective_storage_type": "Local",
    }
    assert repr(sm) == f"<StorageManager {tmp_path}/new>"
    caplog.clear()
    StorageManager("a-bucket", local_base_path=tmp_path, prefer_s3=False)
    assert not caplog.records


def test_s3_makes_no_local_directory(tmp_path: Path) -> None:
    sm = StorageManager("a-bucket", "eu-west-1", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert sm.get_storage_info() == {
        "uses_s3": True,
        "s3_bucket": "a-bucket",
        "s3_region": "eu-west-1",
        "local_base_path": str(tmp_path / "new"),
        "effective_storage_type": "S3",
    }


@pytest.mark.parametrize("path", ["", "a\0b", "s3://bucket/x", 7])
def test_local_base_path_is_a_directory_name(path: Any) -> None:
    with pytest.raises(LocalStorageError, match="local_base_path"):
        StorageManager(local_base_path=path)


def test_local_base_path_knows_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Config.resolve(local_base_path="~/data").root == f"{tmp_path}/data"


@pytest.mark.parametrize(
    "options",
    [{"key": "planted"}, {"client_kwargs": {"aws_access_key_id": "planted"}}, {"AWS_ACCESS_KEY_ID": "planted"}],
)
def test_half_a_key_pair(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if "AWS_ACCESS_KEY_ID" in options:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", options.pop("AWS_ACCESS_KEY_ID"))
    with pytest.raises(S3ConfigError, match="without its secret") as caught:
        StorageManager("a-bucket", storage_options=options)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("file", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_profiles(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    with pytest.raises(S3ConfigError, match="AWS profile"):
        StorageManager("a-bucket")
    section = "profile mine" if file == "AWS_CONFIG_FILE" else "mine"
    Path(os.environ[file]).write_text(f"[{section}]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n")
    StorageManager("a-bucket")
    with pytest.raises(S3ConfigError, match="AWS profile"):
        StorageManager("a-bucket", storage_options={"profile": "other"})
    Path(os.environ[file]).write_text("region = no section\n")
    with pytest.raises(S3ConfigError, match="cannot be read"):
        StorageManager("a-bucket")


def test_from_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SM_PREFER_S3": "false", "SM_S3_PREFIX": "variable", "SM_S3_BUCKET_NAME": "variable"}.items():
        monkeypatch.setenv(name, value)
    assert StorageManager.from_url("s3://a-bucket").url_for() == "s3://a-bucket"
    assert StorageManager.from_url("s3://a-bucket/a/b/").url_for() == "s3://a-bucket/a/b"
    monkeypatch.setenv("SM_REQUIRE_S3", "true")
    assert StorageManager.from_url(f"file://{tmp_path}/a%20b").url_for() == f"{tmp_path}/a b"
    assert StorageManager.from_url(f"{tmp_path}/c/").url_for() == f"{tmp_path}/c"
    assert StorageManager.from_url("memory://a/").url_for("s") == "memory://a/s"
    assert StorageManager.from_url("memory://").url_for("s") == "memory:///s"


@pytest.mark.parametrize("url", ["s3://a-bucket?x=1", "s3://key:planted@a-bucket", "s3://a-bucket#f", "s3://Bad"])
def test_from_url_refuses_more_than_a_place(url: str) -> None:
    with pytest.raises(S3ConfigError) as caught:
        StorageManager.from_url(url)
    assert "planted" not in str(caught.value)


def test_from_url_of_other_backends() -> None:
    with pytest.raises(StorageManagerError, match="password"):
        StorageManager.from_url("sftp://me:planted@host/path")
    with pytest.raises(StorageManagerError, match="nonsense"):
        StorageManager.from_url("nonsense://x")
    with pytest.raises(TypeError):
        StorageManager.from_url("memory://x", s3_prefix="y")
