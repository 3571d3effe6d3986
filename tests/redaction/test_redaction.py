"""Redaction: no stored byte holds a secret, however it was encoded, on every way in."""

import base64
import html
import json
import pickle
import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest

from storage_manager import InvalidDataError, Step, StepData, StorageManager
from storage_manager.redaction import redact_secrets
from tests.support.roots import Make

SECRET = "hunter2 Sé<\"/&\\😀'%+=:"
MASK = "[redacted]"

ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "URL": lambda text: quote(text, safe=""),
    "URL, lower case": lambda text: re.sub("%..", lambda byte: byte[0].lower(), quote(text, safe="")),
    "URL, all": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "form": quote_plus,
    "encodeURIComponent": lambda text: quote(text, safe="!'()*"),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, all": lambda text: "".join(f"\\u{unit:04X}" for unit in memoryview(text.encode("utf-16-le")).cast("H")),
    "JSON, slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JavaScript": lambda text: "".join(
        f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{{{ord(char):x}}}" for char in text
    ),
    "CSS": lambda text: "".join(rf"\{ord(char):x} " for char in text),
    "HTML": html.escape,
    "HTML, text": lambda text: html.escape(text, quote=False),
    "HTML, names": lambda text: html.escape(text).replace("é", "&eacute;").replace("&#x27;", "&apos;"),
    "HTML, decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(char):05X};" for char in text),
}
BASE64 = (base64.b64encode, base64.urlsafe_b64encode)


def masked(secret: str, text: str) -> str:
    return str(redact_secrets([secret])(StepData(html=text)).html)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_is_found_in_every_encoding(encoding: str) -> None:
    assert masked(SECRET, f"<a>{ENCODINGS[encoding](SECRET)}</a>") == f"<a>{MASK}</a>"


def every_base64(text: str) -> list[bytes]:
    """What any run of base64 in the text holds, from each of its first four characters on."""
    runs = re.findall(r"[A-Za-z0-9+/_-]{4,}", text)
    plain = [run[start:].replace("-", "+").replace("_", "/") for run in runs for start in range(4)]
    return [base64.b64decode(run[: len(run) // 4 * 4]) for run in plain]


def readings(data: bytes) -> list[bytes]:
    """All that stored bytes can be taken for: as they are, and with each encoding undone."""
    text = data.decode()
    undone = [text, unquote(text), unquote_plus(text), html.unescape(text), text.replace("\\/", "/")]
    undone.append(re.sub(r"\\u([0-9a-fA-F]{4})", lambda unit: chr(int(unit[1], 16)), text))
    return [reading.encode(errors="surrogatepass") for reading in undone] + every_base64(text)


PLANTED = "t0p-secret/pass+word"
IN_PAGE = " ".join(encode(PLANTED) for encode in ENCODINGS.values()) + "".join(
    encode(b"x" * offset + PLANTED.encode()).decode() + " " for offset in range(3) for encode in BASE64
)
STEP = StepData(
    html=f"<p>{IN_PAGE}</p>",
    screenshot=b"\x89PNG",
    action={"type": "fill", "text": PLANTED, PLANTED: {"nested": [IN_PAGE, {"deep": (PLANTED,)}]}},
    metadata={"url": f"https://example.com/?q={quote(PLANTED, safe='')}", "n": 1, "f": 1.5, "none": None, "on": True},
)


async def stored_bytes(sm: StorageManager) -> list[bytes]:
    return [data for data in sm.fs.cat(sm.fs.find(sm.url_for())).values() if not data.startswith(b"\x89PNG")]


async def test_no_stored_byte_holds_a_secret_on_any_way_in(make: Make) -> None:
    source, sm = make(), make(redact=[PLANTED])
    await source.store_step_data("plain", "a", *STEP)
    assert sum(PLANTED.encode() in data for data in await stored_bytes(source)) == 2, "the test finds what is planted"
    copied = [Step("copied", step.step_id, step.data) async for step in source.iter_steps(["plain"])]
    await source.delete_session("plain")

    await sm.store_step_data("s", "given", *STEP)
    await sm.store_step_data("s", "bytes", str(STEP.html).encode(), bytearray(b"\x89PNG"), Lazy(STEP.action), {})
    assert await sm.store_steps(copied) == 1

    found = await stored_bytes(sm)
    assert len(found) == 9
    assert not [reading for data in found for reading in readings(data) if PLANTED.encode() in reading]
    step = await sm.retrieve_step_data("copied", "a")
    assert step.screenshot == STEP.screenshot
    assert step.metadata == {"url": f"https://example.com/?q={MASK}", "n": 1, "f": 1.5, "none": None, "on": True}
    assert isinstance(step.action, dict)
    assert step.action["text"] == step.action[MASK]["nested"][1]["deep"][0] == MASK


class Lazy(dict):  # type: ignore[type-arg]
    """A mapping that is no plain dict."""


async def test_keys_that_are_masked_alike_both_stay_and_numbers_are_masked_too(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path, redact=["1234", "5678"])
    await sm.store_step_data("s", "a", action_data={"1234": 1, "5678": 2, "pin": 51234, "price": -0.1234, "n": 12})
    step = await sm.retrieve_step_data("s", "a")
    assert step.action == {MASK: 1, f"{MASK}_": 2, "pin": MASK, "price": MASK, "n": 12}


async def test_a_redactor_of_the_users_own_sees_what_a_reader_would(make: Make) -> None:
    seen: list[StepData] = []

    def redact(step: StepData) -> StepData:
        seen.append(step)
        return step._replace(html=None, screenshot=b"black", action={"type": "redacted"})

    sm = make(redact=redact)
    paths = await sm.store_step_data("s", "a", b"<p>", memoryview(b"\x89PNG"), {"at": Path("/x"), "t": (1,)}, None)
    assert seen == [StepData("<p>", b"\x89PNG", {"at": "/x", "t": [1]}, None)]
    assert paths["html_path"] is None
    assert await sm.retrieve_step_data("s", "a") == StepData(None, b"black", {"type": "redacted"}, None)


async def test_a_redactor_that_fails_stores_nothing(tmp_path: Path) -> None:
    def failing(step: StepData) -> StepData:
        raise KeyError("oops")

    def forgetful(step: StepData) -> Any:
        return None

    for redact, words in ((failing, "redact failed.*oops"), (forgetful, "must return StepData, not NoneType")):
        sm = StorageManager(local_base_path=tmp_path, redact=redact)
        with pytest.raises(InvalidDataError, match=words) as raised:
            await sm.store_step_data("s", "a", "<p>")
        assert raised.value.operation == "store"
    with pytest.raises(InvalidDataError, match=r"html_content.*cannot be decoded again, so it cannot be redacted"):
        await StorageManager(local_base_path=tmp_path, redact=["secret"]).store_step_data("s", "a", b"\xff<p>")
    assert await sm.list_sessions() == []


@pytest.mark.parametrize("wrong", ["secret", [""], ["\ud800"], ["fine", 3], [b"bytes"], 5, ["red", "acted"], ["d]["]])
def test_what_is_no_redactor_is_refused(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError) as raised:
        StorageManager(local_base_path=tmp_path / "never", redact=wrong)
    assert raised.value.operation == "configure"
    assert not (tmp_path / "never").exists()
    with pytest.raises(InvalidDataError):
        StorageManager.from_url("memory://x", redact=wrong)


async def test_other_backends_and_pickled_managers_redact_too(tmp_path: Path) -> None:
    for url in ("memory://redacted", str(tmp_path)):
        sm = pickle.loads(pickle.dumps(StorageManager.from_url(url, redact=["hunter2"])))
        assert "hunter2" not in repr(sm) + repr(sm.redact) + repr(vars(sm))
        await sm.store_step_data("s", "a", "<p>hunter2</p>")
        assert (await sm.retrieve_step_data("s", "a", components=["html"])).html == f"<p>{MASK}</p>"


async def test_a_set_of_secrets_and_a_mask_that_is_one(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path, redact={"hunter2"})
    await sm.store_step_data("s", "a", "<p>hunter2</p>")
    assert (await sm.retrieve_step_data("s", "a")).html == f"<p>{MASK}</p>"
    with pytest.raises(InvalidDataError, match=r"give another, redact_secrets\(secrets, mask=...\)"):
        redact_secrets(["xx"], mask="x")


def test_the_longer_secret_goes_first_and_the_mask_is_literal() -> None:
    redact = redact_secrets(["hunter", "hunter2"], mask=r"\1\g<0>")
    assert redact(StepData(html="hunter2 hunter")).html == r"\1\g<0> \1\g<0>"
    assert redact_secrets([])(StepData(html="<p>")) == StepData(html="<p>")


def test_frames_in_frames_and_lines_of_base64() -> None:
    page = "pa<w&d"
    for _ in range(12):
        page = html.escape(page)
        assert masked("pa<w&d", page) == MASK
    lines = base64.encodebytes(b"x" * 50 + SECRET.encode() + b"x" * 50).decode()
    assert lines.count("\n") > 1
    assert MASK in masked(SECRET, lines)


def test_four_bytes_are_found_in_base64_and_three_are_not_looked_for() -> None:
    for secret, found in (("pass", True), ("pas", False)):
        assert (MASK in masked(secret, base64.b64encode(secret.encode()).decode())) is found


async def test_numbers_are_looked_at_as_they_are_stored_and_booleans_are_no_secret(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path, redact=["0.00001234", "true", "null"])
    await sm.store_step_data("s", "a", metadata={"n": 0.00001234, "yes": True, "no": None})
    assert (await sm.retrieve_step_data("s", "a")).metadata == {"n": MASK, "yes": True, "no": None}


async def test_an_error_shows_no_secret_either(tmp_path: Path) -> None:
    for redact, told in (
        (["hunter2"], rf"action_data\['{re.escape(MASK)}'\] cannot"),
        (lambda step: StepData(), "the step"),
    ):
        sm = StorageManager(local_base_path=tmp_path, redact=redact)
        with pytest.raises(InvalidDataError, match=told) as raised:
            await sm.store_step_data("s", "a", action_data={"hunter2": float("nan")})
        shown = "".join(traceback.format_exception(raised.value))
        assert "hunter2'] cannot" not in shown


def test_backslashes_between_letters_do_not_multiply() -> None:
    """Each run of them may hold those of the next letter's escape; seven took minutes when both could take them."""
    secret = "".join(f"\\{letter}" for letter in "abcdefg") + "Z"
    redact = redact_secrets([secret])
    start = time.thread_time()
    for escape in ("u{:04x}", "x{:02x}", "{:x} ", "{:c}"):
        redact(StepData(html="".join("\\" * 16 + escape.format(ord(letter)) for letter in "abcdefg") * 20))
    assert time.thread_time() - start < 2, "0.02 s as a rule"
    assert masked(secret, json.dumps(json.dumps(secret))[3:-3]) == MASK


@pytest.mark.parametrize("unit", ["\\", "%25", "&amp;", "%5c", "&#00", "h\\", "hunter2", "%68", "\\u006", "u006"])
def test_no_page_makes_it_take_long(unit: str) -> None:
    redact, page = redact_secrets(["hunter2\\\\&%"]), unit * (200_000 // len(unit))
    start = time.thread_time()
    redact(StepData(html=page + "hunter" + page))
    assert time.thread_time() - start < 2, "0.05 s as a rule"
