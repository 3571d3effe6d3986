"""Configuration: argument, then SM_* variable, then default; wrong on its face is refused, never repeated."""

import logging
import os
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ProfileNotFound
from botocore.session import Session

from storage_manager import LocalStorageError, S3ConfigError, S3OperationError, StorageManager, StorageManagerError
from storage_manager.config import Config, arguments_of, warn_if_mistyped
from storage_manager.s3_settings import S3Settings

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
    with pytest.raises(S3ConfigError, match=f"^{name} is not valid|^{name} is not a valid") as caught:
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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SM_S3_BUCKETNAME", "SM_S3_BUCKET_NAME"),
        ("SM_BUCKET_NAME", "SM_S3_BUCKET_NAME"),
        ("sm_s3_region_name", "SM_S3_REGION"),
        ("SM_ROOTS", "SM_ROOT"),
        *((name, None) for name in ("SM_TEST_S3_REGION", "SM_ROOT", "SM_TOKEN", "SM_HOSTS", "SM_OUTPUT_DATA_DIR")),
    ],
)
def test_a_mistyped_variable_is_named_once(
    name: str, meant: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warn_if_mistyped.cache_clear()
    monkeypatch.setenv(name, str(tmp_path))
    for _ in range(2):
        Config.resolve()
    why = f"the variable {name.upper()} is ignored, because there is no such setting: did you mean {meant}?"
    assert [record.getMessage() for record in caplog.records] == ([why] if meant else [])


def test_an_empty_url_is_called_so() -> None:
    with pytest.raises(LocalStorageError, match=r"^the URL is empty: give"):
        StorageManager.from_url("")


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
    with pytest.raises(S3ConfigError, match=r"AWS profile 'mine' \(AWS_PROFILE\)"):
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
    with pytest.raises(TypeError, match="s3_prefix is an option of S3"):
        StorageManager.from_url("memory://x", s3_prefix="y")
    with pytest.raises(TypeError, match="s4_prefix"):
        StorageManager.from_url("memory://x", s4_prefix="y")
    assert StorageManager.from_url("memory://x", s3_endpoint_url=None, storage_options=None).url_for() == "memory://x"


@pytest.mark.parametrize("url", ["memory://run*", "memory://run?", "memory://r[u]n", "gs://b/a*"])
def test_no_pattern_is_a_place(url: str) -> None:
    """fsspec would delete in every place that is like it."""
    with pytest.raises(StorageManagerError, match=r"patterns|malformed"):
        StorageManager.from_url(url)


# --- argument, variable, default ------------------------------------------------------------------------

BROKEN = {  # a variable whose value would be refused
    "s3_bucket_name": "Not A Bucket",
    "s3_region_name": "no_region",
    "local_base_path": "s3://no/path",
    "prefer_s3": "perhaps",
    "s3_prefix": "*",
    "s3_endpoint_url": "ftp://no",
    "require_s3": "perhaps",
    "s3_engine": "steam",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_argument_hides_even_a_broken_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "constructor argument, else environment variable": a variable that is not used is not judged."""
    variable, _, _, _, argument = SETTINGS[name]
    monkeypatch.setenv(variable, BROKEN[name])
    assert getattr(Config.resolve(**{name: argument}), variable.removeprefix("SM_").lower()) == argument
    with pytest.raises(StorageManagerError, match=f"^{variable} "):
        Config.resolve(**{name: None})


def test_require_s3_from_variable_and_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_REQUIRE_S3", "true")
    with pytest.raises(S3ConfigError, match="s3_bucket_name"):
        Config.resolve()
    with pytest.raises(S3ConfigError, match="prefer_s3 is false"):
        Config.resolve(s3_bucket_name="a-bucket", prefer_s3=False)
    assert Config.resolve(s3_bucket_name="a-bucket").require_s3
    assert not Config.resolve(require_s3=False).require_s3


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("TRUE", True), ("yes", True), ("0", False), ("False", False), ("off", False)]
)
def test_booleans_in_the_environment(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_PREFER_S3", text)
    assert Config.resolve().prefer_s3 is value


def test_the_configuration_is_frozen() -> None:
    config = Config.resolve(s3_bucket_name="a-bucket")
    with pytest.raises(FrozenInstanceError):
        config.s3_bucket_name = "another"  # type: ignore[misc]
    assert config.root == "s3://a-bucket"


def test_a_setting_that_does_not_exist() -> None:
    with pytest.raises(S3ConfigError, match="nonsense"):
        Config.resolve(nonsense=1)


# --- wrong on its face ------------------------------------------------------------------------------------

RIGHT = [
    *(("s3_bucket_name", name) for name in ("abc", "x" * 63, "a.b-c", "1.2.3", "0-0")),
    *(("s3_endpoint_url", url) for url in ("http://h", "https://h:9000", "http://[::1]:9000", "https://h/base")),
    *(("s3_region_name", name) for name in ("a", "us-gov-west-1", "a" * 63, "RegionOne")),
    *(("s3_prefix", text) for text in ("a", "a/b", "a b/é", "a/.b", "a..b", "é" * 350)),
]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_what_is_right_comes_through(name: str, value: str) -> None:
    """The other side of each border that `test_what_is_wrong_on_its_face` stands on."""
    field = SETTINGS[name][0].removeprefix("SM_").lower()
    assert getattr(Config.resolve(**{name: value}), field) == value


@pytest.mark.parametrize("value", ["/a/b", "a/b/", "///a/b///"])
def test_prefix_loses_its_outer_slashes(value: str) -> None:
    assert Config.resolve(s3_bucket_name="a-bucket", s3_prefix=value).root == "s3://a-bucket/a/b"


def test_prefix_of_slashes_is_none() -> None:
    assert Config.resolve(s3_bucket_name="a-bucket", s3_prefix="//").root == "s3://a-bucket"


MORE_WRONG: list[tuple[str, Any]] = [
    *(("s3_bucket_name", name) for name in ("abc\n", "a/b", "٣٣٣", "a b", 12345, "ab\udcff")),
    *(("s3_endpoint_url", url) for url in ("host", "  ", "http:///p", "http://h:99999", "http://h:-1", "http://h\tx")),
    *(("s3_endpoint_url", url) for url in ("//host", "http://u@h", "http://:9000", "file:///x")),
    *(("s3_region_name", name) for name in ("eu-west-1\n", "é")),
    *(("s3_prefix", text) for text in ("..", "a/..", "a]", "\0", "a\x7f", "\ud800", "é" * 351)),
    ("prefer_s3", 2),
]


@pytest.mark.parametrize(("name", "value"), MORE_WRONG)
def test_more_that_is_wrong_on_its_face(name: str, value: Any) -> None:
    with pytest.raises(S3ConfigError, match=f"^{name} is not valid|^{name} is not a valid"):
        Config.resolve(**{name: value})


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(S3ConfigError) as caught:
        Config.resolve(s3_bucket_name="B", s3_region_name="_", s3_prefix="*")
    assert all(name in str(caught.value) for name in ("s3_bucket_name", "s3_region_name", "s3_prefix"))


PLANTED = {
    "s3_bucket_name": "planted_Bucket",
    "s3_region_name": "planted_region",
    "s3_prefix": "planted*",
    "s3_endpoint_url": "http://user:planted@host",
    "s3_engine": "planted",
    "prefer_s3": "planted",
    "require_s3": "planted",
    "local_base_path": "https://planted",
}


def chain(error: BaseException | None) -> str:
    """All that a traceback would say of an error and of those behind it."""
    said = ""
    while error is not None:
        said += f"{error} {error!r} "
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("through", ["argument", "variable"])
def test_no_error_repeats_a_value(name: str, through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "No message repeats a value that was given: it could be a secret." """
    if through == "variable":
        monkeypatch.setenv(SETTINGS[name][0], PLANTED[name])
    with pytest.raises(StorageManagerError) as caught:
        Config.resolve(**({name: PLANTED[name]} if through == "argument" else {}))
    assert str(caught.value).startswith(f"{SETTINGS[name][0] if through == 'variable' else name} ")
    assert "planted" not in chain(caught.value)


# --- local_base_path --------------------------------------------------------------------------------------


def test_local_base_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Config.resolve(local_base_path="a/../b").root == f"{tmp_path}/b"
    assert Config.resolve(local_base_path=Path("c")).root == f"{tmp_path}/c"
    assert Config.resolve().root == f"{tmp_path}/.storage_data"


class BytesPath:
    """A PathLike of bytes, which os.fspath allows."""

    def __fspath__(self) -> bytes:
        return b"/data"


def test_local_base_path_is_text() -> None:
    with pytest.raises(LocalStorageError, match="local_base_path"):
        Config.resolve(local_base_path=BytesPath())


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_file_in_the_way(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here first")
    with pytest.raises(LocalStorageError) as caught:
        StorageManager(local_base_path=f"{tmp_path}/file{below}")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.url == f"{tmp_path}/file{below}"
    assert (tmp_path / "file").read_text() == "here first"


@pytest.mark.parametrize("path", ["~", "~/sessions", "~nobody-has-this-name/sessions"])
def test_a_home_directory_that_does_not_exist(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME is unset, and the user id has no passwd entry, as in some containers."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(LocalStorageError, match="begins with ~, but there is no such home directory"):
        StorageManager(local_base_path=path)
    assert list(tmp_path.iterdir()) == []


def test_a_variable_may_have_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("sm_s3_bucket_name", "a-bucket")
    monkeypatch.setenv("Sm_Prefer_S3", "ON")
    assert Config.resolve().root == "s3://a-bucket"


# --- URLs ---------------------------------------------------------------------------------------------------


def local(path: object) -> dict[str, Any]:
    return {"local_base_path": path, "prefer_s3": False, "require_s3": False}


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("s3://a-bucket", {"s3_bucket_name": "a-bucket", "s3_prefix": "", "prefer_s3": True}),
        ("S3://a-bucket/a/b", {"s3_bucket_name": "a-bucket", "s3_prefix": "/a/b", "prefer_s3": True}),
        ("file:///a%20b", local("/a b")),
        ("/data/x", local("/data/x")),
        ("relative", local("relative")),
        (Path("/data/x"), local(Path("/data/x"))),
        ("memory://x", None),
        ("sftp://host/path", None),
        ("abfs://container@account.example/path", None),
    ],
)
def test_arguments_of(url: Any, arguments: dict[str, Any] | None) -> None:
    assert arguments_of(url) == arguments


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("s3://b/p?versionId=planted", S3ConfigError),
        ("s3://key:planted@b/p", S3ConfigError),
        ("s3://planted@b/p", S3ConfigError),
        ("sftp://me:planted@host/p", StorageManagerError),
        ("https://:planted@host", StorageManagerError),
    ],
)
def test_a_url_is_a_place_and_no_more(url: str, error: type[StorageManagerError]) -> None:
    with pytest.raises(error) as caught:
        arguments_of(url)
    assert type(caught.value) is error
    assert caught.value.operation == "configure"
    assert "planted" not in chain(caught.value)


@pytest.mark.parametrize("url", ["file://", "file:///a%00b"])
def test_a_file_url_without_a_directory(url: str) -> None:
    with pytest.raises(LocalStorageError, match="local_base_path"):
        StorageManager.from_url(url)


@pytest.mark.parametrize("url", ["s3://[bucket", "gs://[x"])
def test_a_url_that_is_none(url: str) -> None:
    """Design, promise 4: "Every error is ours"."""
    with pytest.raises(StorageManagerError):
        arguments_of(url)


@pytest.mark.parametrize("url", ["file://host/data", "file:///data?x=1", "file:///data#f"])
def test_a_file_url_is_a_place_and_no_more(url: str) -> None:
    """ "Raises: the URL holds more than a place"; RFC 8089: another host's file is not ours."""
    with pytest.raises(StorageManagerError):
        arguments_of(url)


def test_control_characters_in_a_url() -> None:
    with pytest.raises(S3ConfigError, match="control characters"):
        StorageManager.from_url("s3://a-bucket/a\nb")


# --- credentials and profiles -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"key": "k", "secret": "s"},
        {"client_kwargs": {"aws_access_key_id": "k", "aws_secret_access_key": "s"}},
        {"key": "k", "client_kwargs": {"aws_secret_access_key": "s"}},
        {"client_kwargs": None},
    ],
)
def test_whole_key_pairs(options: dict[str, Any]) -> None:
    check_credentials(options)


def test_a_key_pair_comes_from_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a pair in the options is not completed from the environment: botocore would not either."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    with pytest.raises(S3ConfigError, match="without its secret"):
        check_credentials({})
    check_credentials({"key": "k", "secret": "s"})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment")
    check_credentials({})
    with pytest.raises(S3ConfigError, match="without its secret"):
        check_credentials({"key": "k"})


def test_a_secret_without_its_key_id() -> None:
    """ "Refuse credentials that are wrong on their face: half a key pair"; botocore: PartialCredentialsError."""
    with pytest.raises(S3ConfigError):
        check_credentials({"secret": "s"})


def test_anonymous_needs_no_key_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    check_credentials({"anon": True})


def check_credentials(options: dict[str, Any]) -> None:
    """Check storage options as a manager does before it opens a bucket."""
    StorageManager("a-bucket", storage_options=options)


def botocore_knows(profile: str) -> bool:
    """What botocore, which will read the files in the end, says of a profile."""
    try:
        Session(profile=profile).get_scoped_config()
    except ProfileNotFound:
        return False
    return True


def we_know(profile: str) -> bool:
    try:
        check_credentials({"profile": profile})
    except S3ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("file", "section", "profile"),
    [
        ("AWS_CONFIG_FILE", "profile mine", "mine"),
        ("AWS_CONFIG_FILE", "default", "default"),
        ("AWS_CONFIG_FILE", 'profile "my own"', "my own"),
        ("AWS_CONFIG_FILE", "profile other", "mine"),
        ("AWS_CONFIG_FILE", "profile other", "default"),
        ("AWS_SHARED_CREDENTIALS_FILE", "mine", "mine"),
        ("AWS_SHARED_CREDENTIALS_FILE", "default", "default"),
        ("AWS_SHARED_CREDENTIALS_FILE", "other", "mine"),
        ("AWS_CONFIG_FILE", "mine", "mine"),
        ("AWS_CONFIG_FILE", "profile\tmine", "mine"),
        ("AWS_CONFIG_FILE", "sso-session mine", "sso-session mine"),
        ("AWS_SHARED_CREDENTIALS_FILE", "profile mine", "mine"),
    ],
)
def test_profiles_are_those_of_botocore(file: str, section: str, profile: str) -> None:
    Path(os.environ[file]).write_text(f"[{section}]\nregion = eu-west-1\n")
    assert we_know(profile) == botocore_knows(profile)


@pytest.mark.parametrize("path", ["~/config", "$HOME/config"])
def test_profile_files_are_found_as_botocore_finds_them(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile mine]\nregion = eu-west-1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", path)
    assert botocore_knows("mine")
    assert we_know("mine")


def test_profile_files_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_CONFIG_FILE")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "")
    assert not we_know("mine")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[mine]\n")
    assert we_know("mine")


def test_which_profile_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options, then AWS_DEFAULT_PROFILE, then AWS_PROFILE, which is botocore's order."""
    Path(os.environ["AWS_CONFIG_FILE"]).write_text("[profile mine]\n")
    monkeypatch.setenv("AWS_PROFILE", "unknown")
    with pytest.raises(S3ConfigError, match="AWS profile"):
        check_credentials({})
    monkeypatch.setenv("AWS_DEFAULT_PROFILE", "mine")
    check_credentials({})
    with pytest.raises(S3ConfigError, match="AWS profile") as caught:
        check_credentials({"profile": "planted"})
    assert "planted" not in chain(caught.value)


@pytest.mark.parametrize("content", [b"[mine]\nx = \xff\n", b"no header\n", b"[mine\n"])
def test_an_unreadable_profile_file(content: bytes) -> None:
    Path(os.environ["AWS_CONFIG_FILE"]).write_bytes(content)
    with pytest.raises(S3ConfigError, match="cannot be read: ") as caught:
        check_credentials({"profile": "mine"})
    assert caught.value.operation == "configure"
    assert caught.value.__cause__ is None, "the parser's own message quotes the file"


@pytest.mark.parametrize("header", ["", "[mine]\n"])
def test_an_unreadable_profile_file_keeps_its_secrets(header: str) -> None:
    """Design, promise 5: "No secret leaves". The whole chain is printed with a traceback."""
    line = "aws_secret_access_key planted\n" if header else "aws_secret_access_key = planted\n"
    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(header + line)
    with pytest.raises(S3ConfigError) as caught:
        check_credentials({"profile": "mine"})
    assert "planted" not in chain(caught.value)


def test_urls_of_the_same_place() -> None:
    assert StorageManager.from_url("s3a://a-bucket/x").url_for() == "s3://a-bucket/x"
    assert Config.resolve(**(arguments_of("local:///x") or {})).root == "/x"
    assert Config.resolve(local_base_path="/").root == "/"


@pytest.mark.parametrize("url", ["s3://key:pla\u2100nted@bucket/x", "s3://key:planted\u2100@bucket/x"])
def test_a_malformed_url_is_not_quoted_by_its_cause(url: str) -> None:
    with pytest.raises(S3ConfigError) as caught:
        StorageManager.from_url(url)
    assert "planted" not in chain(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["s3:/a-bucket", "file:/x", "S3:/a-bucket", "File:/x"])
def test_a_url_with_a_slash_too_few(url: str) -> None:
    with pytest.raises(StorageManagerError, match="two slashes"):
        StorageManager.from_url(url)


def test_the_working_directory_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    (tmp_path / "cwd").rmdir()
    with pytest.raises(LocalStorageError, match="ENOENT"):
        StorageManager()


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.eu-west-1.amazonaws.com/a-bucket",
        "https://a-bucket.s3.amazonaws.com",
        "https://a-bucket.s3.cn-north-1.amazonaws.com.cn/",
    ],
)
def test_an_endpoint_of_amazon_does_not_name_the_bucket(url: str) -> None:
    """What was stored would lie under another key than its URL says."""
    for arguments in ({"s3_endpoint_url": url}, {"storage_options": {"endpoint_url": url}}):
        with pytest.raises(S3ConfigError, match="names the bucket"):
            StorageManager("a-bucket", **arguments)  # type: ignore[arg-type]
    StorageManager("other-bucket", s3_endpoint_url=url)


@pytest.mark.parametrize(
    ("bucket", "url"),
    [
        ("minio", "http://minio.svc:9000"),
        ("storage", "https://storage.googleapis.com"),
        ("data", "https://host/s3/data"),
        ("evil-amazonaws", "https://evil-amazonaws.com"),
    ],
)
@pytest.mark.parametrize("where", ["argument", "options", "client_kwargs", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_another_endpoint_may_look_like_the_bucket(
    bucket: str, url: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened_at(url, where, monkeypatch, bucket).url_for() == f"s3://{bucket}"


def opened_at(url: str, where: str, monkeypatch: pytest.MonkeyPatch, bucket: str) -> StorageManager:
    """Return a manager whose endpoint comes from one of the five places that may name it."""
    if where.startswith("AWS"):
        monkeypatch.setenv(where, url)
    arguments: dict[str, Any] = {
        "argument": {"s3_endpoint_url": url},
        "options": {"storage_options": {"endpoint_url": url}},
        "client_kwargs": {"storage_options": {"client_kwargs": {"endpoint_url": url}}},
    }
    return StorageManager(bucket, **arguments.get(where, {}))


ODD_BUCKETS = ["My_Bucket", "_x", "1.2.3.4", "a", "UPPER", "a..b", "x" * 255]


@pytest.mark.parametrize("bucket", ODD_BUCKETS)
@pytest.mark.parametrize("where", ["argument", "options", "client_kwargs", "AWS_ENDPOINT_URL"])
def test_other_services_have_other_names_of_buckets(bucket: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sm = opened_at("http://host:9000", where, monkeypatch, bucket)
    assert sm.url_for("s") == f"s3://{bucket}/s"
    options: Any = {} if where.startswith("AWS") else {"s3_endpoint_url": "http://host:9000"}
    assert StorageManager.from_url(sm.url_for(), **options).url_for() == sm.url_for()


@pytest.mark.parametrize("bucket", [*ODD_BUCKETS, "arn:aws:s3:us-west-2:123456789012:accesspoint/mine"])
@pytest.mark.parametrize("url", [None, "https://s3.eu-west-1.amazonaws.com", "https://s3.cn-north-1.amazonaws.com.cn"])
def test_amazon_has_its_own_names_of_buckets(bucket: str, url: str | None) -> None:
    with pytest.raises(S3ConfigError, match=r"on Amazon S3: .* access point by its alias"):
        StorageManager(bucket, s3_endpoint_url=url)


@pytest.mark.parametrize("bucket", ["a/b", "", " ", "..", "a b", "x" * 256, "a?b", "é"])
def test_no_service_has_these_names(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_S3_ENDPOINT_URL", "http://host")
    with pytest.raises(S3ConfigError, match="is not a valid bucket name"):
        StorageManager(bucket)


PREFIXES = ["h#1", "a%20b", "a b", "a&b=c;d", "a+b,c", "é/日", "a:b", "a@b", "~", "$x", "{a}", "'\"", "a#b/c#d"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_url_of_a_prefix_opens_the_same_root(prefix: str) -> None:
    url = StorageManager("a-bucket", s3_prefix=prefix).url_for()
    assert url == f"s3://a-bucket/{prefix}"
    assert StorageManager.from_url(url).url_for() == url


@pytest.mark.parametrize(
    ("url", "excluded", "skips"),
    [
        ("http://10.1.2.3:9000", "10.0.0.0/8", True),
        ("http://10.1.2.3:9000", "localhost, 192.168.0.0/16 ,10.1.0.0/16", True),
        ("http://[fd00::7]", "fd00::/8", True),
        ("http://11.1.2.3:9000", "10.0.0.0/8", False),
        ("http://minio.svc", "10.0.0.0/8", False),
        ("http://10.1.2.3", "", False),
        ("http://10.1.2.3", "10.0.0.0/99,*.svc", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_may_name_a_range_of_addresses(
    url: str, excluded: str, skips: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv(name, excluded)
    settings = S3Settings("s3fs", "us-west-2", url, {}, 1)
    assert settings.keywords()["config_kwargs"].get("proxies") == ({} if skips else None)
    own = S3Settings("s3fs", "us-west-2", url, {"config_kwargs": {"proxies": {"http": "http://p"}}}, 1)
    assert own.keywords()["config_kwargs"]["proxies"] == {"http": "http://p"}


@pytest.mark.parametrize(
    ("url", "option", "error"),
    [
        ("s3://a-bucket", "asynchronous", S3ConfigError),
        ("s3://a-bucket", "loop", S3ConfigError),
        ("", "asynchronous", LocalStorageError),
        ("", "fsync", LocalStorageError),
        ("memory://x", "asynchronous", StorageManagerError),
    ],
)
def test_options_that_the_library_sets_are_refused(
    url: str, option: str, error: type[StorageManagerError], tmp_path: Path
) -> None:
    with pytest.raises(error, match=f"storage_options.'{option}'. is set by the library: leave it out") as caught:
        StorageManager.from_url(url or tmp_path, storage_options={option: None})
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "options",
    [{"nonsense": 1}, {"config_kwargs": {"nonsense": 1}}, {"client_kwargs": {"nonsense": 1}}],
)
async def test_options_that_no_client_has(options: dict[str, Any]) -> None:
    sm = StorageManager("a-bucket", storage_options={"key": "k", "secret": "s", **options})
    with pytest.raises(S3ConfigError, match=r"nonsense.*\(correct storage_options\)") as caught:
        await sm.list_sessions()
    assert caught.value.url == "s3://a-bucket"


async def test_a_type_error_of_ours_is_no_wrong_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    sm = StorageManager("a-bucket", storage_options={"key": "k", "secret": "s"})

    async def broken(*args: object, **kwargs: object) -> None:
        raise TypeError("unsupported operand")

    monkeypatch.setattr(sm.async_fs, "_call_s3", broken)
    with pytest.raises(S3OperationError, match="TypeError: unsupported operand"):
        await sm.list_sessions()


async def test_no_credentials_at_all(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    sm = StorageManager("a-bucket", s3_endpoint_url="http://127.0.0.1:9", s3_engine=engine)  # type: ignore[arg-type]
    with pytest.raises(S3ConfigError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN"):
        await sm.store_step_data("s", "t", "x")


@pytest.mark.parametrize(
    ("url", "root"),
    [("s3://a-bucket/x", "s3://a-bucket/x"), ("s3://a-bucket", "s3://a-bucket"), ("/data", "/data"),
     ("file:///data", "/data"), ("memory://x", "memory://x")],
)  # fmt: skip
def test_sm_root_is_a_url(url: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It overrides the variables of bucket, prefix and directory; an argument that names a root overrides it."""
    for name, value in {"SM_S3_BUCKET_NAME": "other", "SM_S3_PREFIX": "p", "SM_LOCAL_BASE_PATH": "/other"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SM_ROOT", url)
    assert Config.resolve().root == root
    assert Config.resolve(s3_bucket_name="argument", s3_prefix="").root == "s3://argument"
    assert Config.resolve(local_base_path="/argument", prefer_s3=False).root == "/argument"
    assert StorageManager.from_url("memory://y").url_for() == "memory://y"
    monkeypatch.setenv("SM_ROOT", "")
    assert Config.resolve().root == "s3://other/p"


async def test_sm_root_of_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_ROOT", "memory://of-a-variable")
    async with StorageManager() as storage:
        await storage.store_step_data("s", "t", "<p>")
        assert storage.url_for("s") == "memory://of-a-variable/s"
    assert await StorageManager.from_url("memory://of-a-variable").list_sessions() == ["s"]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("s3://user:planted@a-bucket", S3ConfigError),
        ("s3:/planted", StorageManagerError),
        ("s3://planted_", S3ConfigError),
    ],
)
def test_a_root_that_is_none_is_named(
    url: str, error: type[StorageManagerError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SM_ROOT", url)
    with pytest.raises(error, match=r"^SM_ROOT") as caught:
        StorageManager()
    assert "planted" not in str(caught.value)


def test_a_root_on_disk_is_not_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_ROOT", "/data")
    monkeypatch.setenv("SM_REQUIRE_S3", "true")
    with pytest.raises(S3ConfigError, match="require_s3 is set, but SM_ROOT is not on S3"):
        StorageManager()
