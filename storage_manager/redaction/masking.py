"""Mask secrets in a step, in the encodings that pages and agents use. Imported only if there are secrets."""

import re
from collections.abc import Container, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from pydantic_core import from_json, to_json

from storage_manager.errors import InvalidDataError
from storage_manager.layout import StepData
from storage_manager.redaction.base64_text import Base64Text
from storage_manager.redaction.forms import ENCODED_LETTER, pattern_for, utf16_patterns

__all__ = ["Masking", "Secret"]

BASE64_FROM = 4  # bytes; the base64 of fewer bytes has less than 4 fixed characters, which occur in ordinary words
ROUNDS = 4  # of masking; a text in which a secret is still found is then masked as a whole
_IN_ENCODINGS = re.compile(r"[A-Za-z0-9\s%&#;\\{}+/=_-]")
_NUMBERS = (int, float)  # of JSON; not bool
_BETWEEN = "\ud800" * 8  # separates texts: no stored text has this character, and it is longer than a group of base64
_NULS = ("\0", "%00", "%2500", "u0000", "x00", "&#0", "&#x0")  # in text that was UTF-16


class Masking:
    """The redactor that `redact_secrets` returns. It can be pickled, and its repr shows no secret."""

    def __init__(self, secrets: Sequence[str], mask: str) -> None:
        # the longest first, because a long secret may contain a short one
        self._secrets = [Secret(secret) for secret in sorted(set(secrets), key=len, reverse=True)]
        self._long = [secret for secret in self._secrets if secret.size >= BASE64_FROM]
        self._shortest = min((secret.size for secret in self._long), default=0)
        self._mask = mask
        self._is_apart = _is_apart(mask, secrets)
        used = {*"".join(secrets)}
        unused = (char for char in chain("_~*", map(chr, range(0xA1, 0xD800))) if char not in used)
        self._suffixes = [next(unused, "_"), next(unused, "_")]  # the digits of the number of a key
        if self._once(mask * 2, "") != mask * 2:
            why = "the mask contains a secret: give another, redact_secrets(secrets, mask=...)"
            raise InvalidDataError(why, operation="configure")

    def __call__(self, step: StepData) -> StepData:
        html = None if step.html is None else self._text(step.html)
        return step._replace(html=html, action=self._json(step.action), metadata=self._json(step.metadata))

    def redact_attachment(self, name: str, data: bytes) -> bytes:
        """Return a file without the secrets if it is text: UTF-8 without NUL. JSON remains valid JSON."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        masked = text if "\0" in text else self._text(text)
        if masked == text:
            return data
        return self._json_text(text, masked) if name.lower().endswith((".json", ".har")) else masked.encode()

    def _json_text(self, text: str, masked: str) -> bytes:
        """Return JSON with its values masked. Masking the text itself would break JSON, for example at a number."""
        try:
            value = from_json(text, allow_inf_nan=False)
        except ValueError:
            return masked.encode()
        return self._text(to_json(self._json(value)).decode()).encode() + b"\n" * text.endswith("\n")

    def _text(self, text: str) -> str:
        """Return a text without the secrets.

        The text around a mask may form a secret if the mask is empty or part of a secret. So masking is repeated until
        nothing is found. If a secret is still found after four rounds, the whole text is masked.
        """
        for _ in range(ROUNDS):
            masked = self._once(text, self._mask)
            if masked == text or self._is_apart:
                return masked
            text = masked
        return self._mask

    def _once(self, text: str, mask: str) -> str:
        has_encoded_letters = ENCODED_LETTER.search(text) is not None
        for secret in self._secrets:
            if has_encoded_letters or secret.may_be_in(text):
                text = secret.pattern.sub(lambda _: mask, text)
        if any(nul in text for nul in _NULS):
            for pattern in chain.from_iterable(secret.with_nuls for secret in self._secrets):
                text = pattern.sub(lambda _: mask, text)
        return self._without_base64(text, mask) if self._long and len(text) > self._shortest else text

    def _without_base64(self, text: str, mask: str) -> str:
        pieces, end = list[str](), 0
        for start, following in Base64Text(text).spans(self._in_bytes):
            pieces += [text[end:start], mask]
            end = following
        return "".join([*pieces, text[end:]])

    def _in_bytes(self, data: bytes) -> list[tuple[int, int]]:
        return [span for secret in self._long for span in secret.in_bytes(data)]

    def _json(self, value: Any) -> Any:
        texts = list(_texts_in(value))
        return self._replaced(value, zip(texts, self._texts(texts), strict=True))

    def _texts(self, texts: list[str]) -> list[str]:
        """Return texts without the secrets. They are masked together: alone, each text would take 30 us or more."""
        joined = _BETWEEN.join(texts)
        are_clear = joined.count(_BETWEEN[0]) == len(_BETWEEN) * (len(texts) - 1)
        masked = self._text(joined).split(_BETWEEN) if are_clear else []
        return masked if len(masked) == len(texts) else [self._text(text) for text in texts]

    def _replaced(self, value: Any, texts: Iterator[tuple[str, str]]) -> Any:
        """Return a value in which texts are replaced. Each pair is an old text and its new text."""
        if isinstance(value, str):
            return next(texts)[1]
        if isinstance(value, dict):
            return self._mapping(value, texts)
        if isinstance(value, list):
            return [self._replaced(item, texts) for item in value]
        if type(value) not in _NUMBERS:
            return value
        stored, masked = next(texts)
        return value if masked == stored else self._mask

    def _mapping(self, value: dict[str, Any], texts: Iterator[tuple[str, str]]) -> dict[str, Any]:
        answer, counts = dict[str, Any](), dict[str, int]()
        for item in value.values():
            name = self._free(next(texts)[1], answer, counts)
            answer[name] = self._replaced(item, texts)
        return answer

    def _free(self, name: str, taken: Container[str], counts: dict[str, int]) -> str:
        """Return the name of a key. Add a suffix if another key has the same name after masking."""
        free = name
        while free in taken:
            counts[name] = counts.get(name, 0) + 1
            free = name + "".join(self._suffixes[int(bit)] for bit in f"{counts[name] + 1:b}"[1:])
        return free


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts, keys and numbers of a JSON value, in the order in which `Masking` replaces them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item)
    elif type(value) in _NUMBERS:
        yield to_json(value).decode()


class Secret:
    """A secret and its regular expressions, which are compiled when they are first needed.

    If no letter and no digit of a text is encoded, a secret in it has plain letters and digits. A search for these
    takes a hundredth of the time of a regular expression.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self.size = len(secret.encode())
        self._letters = max(re.findall("[A-Za-z0-9]+", secret), key=len, default="")
        self._plain = self._letters.encode()
        self._utf16 = {secret.encode(encoding).strip(b"\0") for encoding in ("utf-16-le", "utf-16-be")}
        self._may_hide = "\\" in secret  # a code after it is an escape

    @cached_property
    def pattern(self) -> "re.Pattern[str]":
        return re.compile(pattern_for(self._secret))

    @cached_property
    def with_nuls(self) -> "list[re.Pattern[str]]":
        return [re.compile(pattern) for pattern in utf16_patterns(self._secret)]

    @cached_property
    def _pattern_in_bytes(self) -> "re.Pattern[bytes]":
        return re.compile(pattern_for(self._secret, in_bytes=True).encode("latin-1"))

    def may_be_in(self, text: str) -> bool:
        return self._may_hide or self._letters in text

    def in_bytes(self, data: bytes) -> list[tuple[int, int]]:
        """Return start and end of each occurrence of the secret: encoded, with plain letters and digits, or UTF-16."""
        found = [span for part in self._utf16 if part in data for span in _all(part, data)]
        if self._plain in data:
            found += [match.span() for match in self._pattern_in_bytes.finditer(data)]
        return found


def _all(part: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    at = data.find(part)
    while at >= 0:
        yield at, at + len(part)
        at = data.find(part, at + len(part))


def _is_apart(mask: str, secrets: Sequence[str]) -> bool:
    """Return True if the mask and text beside it can never form a secret.

    The first and the last character of the mask are then in no secret, and in no encoding of a secret.
    """
    ends = {*mask[:1], *mask[-1:]}
    return bool(ends) and not _IN_ENCODINGS.search("".join(ends)) and ends.isdisjoint("".join(secrets))
