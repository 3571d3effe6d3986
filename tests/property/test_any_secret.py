"""Any secret is found, in every encoding that pages use, one inside of another, and anywhere in base64."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_manager import StepData
from storage_manager.redaction import redact_secrets

pytestmark = pytest.mark.thorough

MASK = "[redacted]"
ENCODINGS: list[Callable[[str], str]] = [
    str,
    html.escape,
    quote_plus,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="!'()*"),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
]
encodings = st.sampled_from(ENCODINGS)
characters = st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"'\\/&<>%+= ;#")
secrets = st.text(characters, min_size=4, max_size=20).filter(lambda text: text not in MASK * 2)


def masked(secret: str, text: str) -> str:
    return str(redact_secrets([secret])(StepData(html=text)).html)


@settings(settings.get_profile("property"))
@given(secret=secrets, inner=encodings, outer=encodings)
def test_any_secret_is_found_also_when_it_is_encoded_twice(
    secret: str, inner: Callable[[str], str], outer: Callable[[str], str]
) -> None:
    assert masked(secret, f"<a>{outer(inner(secret))}</a>") == f"<a>{MASK}</a>"


@settings(settings.get_profile("property"))
@given(secret=secrets, inner=encodings, before=st.binary(max_size=4), after=st.binary(max_size=4), safe=st.booleans())
def test_any_secret_is_found_anywhere_in_base64(
    secret: str, inner: Callable[[str], str], before: bytes, after: bytes, safe: bool
) -> None:
    """RFC 4648, sections 4 and 5: what is left of either side holds no byte of the secret."""
    data = inner(secret).encode()
    whole = (base64.urlsafe_b64encode if safe else base64.b64encode)(before + data + after).decode()
    first, end = 8 * len(before) // 6, -(-8 * len(before + data) // 6)  # the characters that hold a bit of the secret
    for text in (whole, json.dumps(whole)[1:-1], quote(whole, safe=""), whole.rstrip("=")):
        answer = unquote(masked(secret, text))
        assert answer.rstrip("=") == (whole[:first] + MASK + whole[end:]).rstrip("=")
