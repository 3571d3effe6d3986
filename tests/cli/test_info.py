"""`info`: the engine, the endpoint, and where credentials are found; no secret, no request."""

import json
import os
from pathlib import Path

import pytest

from tests.support.shell import lines, sm

SECRET = "planted-secret"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without credentials, on which everything would have to be asked of an address that is not there."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "SM_"))]:
        monkeypatch.delenv(name)
    for name, file in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        monkeypatch.setenv(name, str(tmp_path / file))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)


def facts(root: str) -> dict[str, object]:
    code, out, err = sm("info", "--json", "--root", root)
    assert (code, err, SECRET in out) == (0, "", False)
    return dict(json.loads(out))


def source() -> object:
    return facts("s3://bucket")["credentials"]


def test_engine_and_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [facts(root)["engine"] for root in ("/data", "memory://x", "s3://bucket")] == ["local", "memory", "s3fs"]
    assert facts("s3://bucket")["endpoint_url"] is None
    assert "endpoint_url Amazon's own" in lines(sm("info", "--root", "s3://bucket").out)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000")
    assert facts("s3://bucket")["endpoint_url"] == "http://localhost:9000"
    monkeypatch.setenv("SM_S3_ENDPOINT_URL", "http://localhost:9001")
    monkeypatch.setenv("SM_S3_ENGINE", "obstore")
    monkeypatch.setenv("SM_ROOT", "s3://bucket/x")
    assert lines(sm("info").out)[:2] == ["url s3://bucket/x", "engine obstore"]
    assert facts("s3://bucket")["endpoint_url"] == "http://localhost:9001"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (f"aws_access_key_id = AKIA\naws_secret_access_key = {SECRET}", "a key (aws_access_key_id)"),
        ("role_arn = arn:aws:iam::1:role/x\nsource_profile = p", "a role (role_arn)"),
        ("sso_session = s", "IAM Identity Center (sso_session)"),
        ("credential_process = /bin/false", "a program (credential_process)"),
    ],
)
def test_credentials_of_a_profile(settings: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(f"[profile p]\n{settings}\n")
    assert source() == "none found here; on Amazon's machines, those of their role"
    monkeypatch.setenv("AWS_PROFILE", "p")
    assert source() == f"the profile p: {told}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert source() == "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def test_credentials_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9")
    assert source() == "the container's own (AWS_CONTAINER_CREDENTIALS_*)"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")
    assert source() == "the role in AWS_ROLE_ARN, with the token in AWS_WEB_IDENTITY_TOKEN_FILE"
