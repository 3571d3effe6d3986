"""Redaction: remove secrets from a step before any of it is written.

A redactor is a function from StepData to StepData. `redact_secrets` makes one that masks the given texts in the
encodings that pages and agents use.
"""

import re
from collections.abc import Callable, Sequence, Set
from typing import Any

from storage_manager.errors import InvalidDataError, refusing
from storage_manager.layout import COMPONENTS, ComponentSpec, StepData

__all__ = ["Redactor", "as_redactor", "redact_secrets", "redacted", "refusal"]

Redactor = Callable[[StepData], StepData]

_TEXT = re.compile(r"[^\ud800-\udfff]+")  # a lone surrogate has no UTF-8 form, so no stored file can hold it


def redact_secrets(secrets: Sequence[str], mask: str = "[redacted]") -> Redactor:
    """Return a redactor that replaces every secret in html, action and metadata, also if it is encoded.

    Screenshots are pixels: they are not changed, and may show a secret. Session and step ids are not changed either.

    These encodings of a secret are found:

    - percent-encoding, once or several times, with `+` for a space (RFC 3986, section 2.1);
    - the escapes of JSON, JavaScript and CSS (RFC 8259, section 7; CSS Syntax, 4.3.7);
    - HTML's character references (HTML standard, 13.1.4);
    - one of these inside another, except for letters and digits;
    - base64, anywhere in the encoded text, if the secret has 4 bytes or more (RFC 4648, sections 4 and 5).

    A secret that is cut in pieces, compressed, encrypted or hashed is not found. In JSON, keys and numbers are searched
    too. A page of 400 kB takes 10 to 30 ms per secret.

    Parameters:
        secrets: passwords, tokens and other texts that must not be stored. None of them may be empty.
        mask: the text that replaces each secret.

    >>> step = StepData(html="<a href='/?t=tok%26n'>tok&amp;n</a>", action={"type": "fill", "text": "tok&n"})
    >>> redact_secrets(["tok&n"])(step).html
    "<a href='/?t=[redacted]'>[redacted]</a>"

    Raises:
        InvalidDataError: secrets is a str, an item of it is empty or not a str, or the mask holds a secret.
    """
    if isinstance(secrets, str) or not all(isinstance(secret, str) and _TEXT.fullmatch(secret) for secret in secrets):
        raise InvalidDataError("redact takes a list of secrets; each is a str that is not empty", operation="configure")
    if not isinstance(mask, str) or not _TEXT.fullmatch(mask or "-"):
        raise InvalidDataError("the mask must be a text that UTF-8 can encode", operation="configure")
    from storage_manager.redaction.masking import Masking  # importing its tables takes 6 ms

    return Masking(secrets, mask)


def as_redactor(redact: "Redactor | Sequence[str] | None") -> Redactor | None:
    """Return the redactor unchanged, or make one from a list of secrets.

    Raises:
        InvalidDataError: the argument is neither.
    """
    if redact is None or callable(redact):
        return redact
    if not isinstance(redact, (Sequence, Set)):
        raise InvalidDataError("redact must be a function or a list of secrets", operation="configure")
    return redact_secrets(redact if isinstance(redact, str) else list(redact))


def redacted(redact: Redactor, values: Sequence[object]) -> StepData:
    """Return the components of a step as the redactor returns them. It gets them decoded, as a reader does.

    Raises:
        InvalidDataError: a value cannot be stored or read again, the redactor failed, or it returned no StepData.
    """
    with refusing("the step", "redact failed"):
        answer = redact(_as_read(redact, values))
    if not isinstance(answer, StepData):
        raise InvalidDataError(f"redact must return StepData, not {type(answer).__name__}", operation="store")
    return answer


def _as_read(redact: Redactor, values: Sequence[object]) -> StepData:
    try:
        return StepData(
            *(
                None if value is None else _decoded_again(row, value)
                for row, value in zip(COMPONENTS, values, strict=True)
            )
        )
    except InvalidDataError as error:
        why = str(error)
    raise refusal(redact, why)


def refusal(redact: Redactor, why: str) -> InvalidDataError:
    """Build the error with its text redacted. Do not chain it: the cause may quote a secret.

    Raises:
        InvalidDataError: the redactor failed.
    """
    with refusing("the step", "redact failed"):
        return InvalidDataError(redact(StepData(html=why)).html or "the step cannot be stored")


def _decoded_again(row: ComponentSpec, value: object) -> Any:
    with refusing(row.keyword, "it cannot be decoded again, so it cannot be redacted"):
        return row.decode(row.encode(value, row.keyword))
