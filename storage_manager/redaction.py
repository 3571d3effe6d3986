"""Redaction: what must not be stored is taken out of a step before any of it is written.

A redactor is a function from StepData to StepData. `redact_secrets` makes one that masks given texts, however the
page or the agent had encoded them.
"""

import re
from collections.abc import Callable, Sequence, Set
from typing import Any

from storage_manager.errors import InvalidDataError, refusing
from storage_manager.layout import COMPONENTS, ComponentSpec, StepData

__all__ = ["Redactor", "as_redactor", "redact_secrets", "redacted", "refusal"]

Redactor = Callable[[StepData], StepData]

_TEXT = re.compile(r"[^\ud800-\udfff]+")  # a lone surrogate has no UTF-8 form, so it is in nothing that is stored


def redact_secrets(secrets: Sequence[str], mask: str = "[redacted]") -> Redactor:
    """Replace every secret, also as URL-, JSON-, HTML- and base64-encoded, in html, action and metadata.

    Screenshots are pixels: they are left alone, and may show a secret. So are session and step ids.

    Found is a secret whose characters are percent-encoded (RFC 3986, section 2.1; once or again, `+` for a space),
    JSON's, JavaScript's or CSS's escapes (RFC 8259, section 7; CSS Syntax, 4.3.7), or HTML's character references (HTML
    standard, 13.1.4), or, but for letters and digits, one of these inside of another; and its base64 (RFC 4648,
    sections 4 and 5), anywhere within what was encoded, if it has 4 bytes or more. Not found is what is cut in pieces,
    compressed, encrypted or hashed. In JSON, keys and numbers are looked at as well. A page of 400 kB takes 10 to 30 ms
    for each secret.

    Parameters:
        secrets: passwords, tokens, whatever must not be stored; none of them empty.
        mask: what stands in place of each.

    >>> step = StepData(html="<a href='/?t=tok%26n'>tok&amp;n</a>", action={"type": "fill", "text": "tok&n"})
    >>> redact_secrets(["tok&n"])(step).html
    "<a href='/?t=[redacted]'>[redacted]</a>"

    Raises:
        InvalidDataError: secrets is one str, or holds what is no str or empty, or the mask holds a secret.
    """
    if isinstance(secrets, str) or not all(isinstance(secret, str) and _TEXT.fullmatch(secret) for secret in secrets):
        raise InvalidDataError("redact takes a list of secrets, each a str that is not empty", operation="configure")
    from storage_manager.masking import Masking  # its tables take 6 ms

    return Masking(secrets, mask)


def as_redactor(redact: "Redactor | Sequence[str] | None") -> Redactor | None:
    """A redactor as it came; one that masks secrets, where they were given.

    Raises:
        InvalidDataError: it is neither.
    """
    if redact is None or callable(redact):
        return redact
    if not isinstance(redact, (Sequence, Set)):
        raise InvalidDataError("redact is a function or a list of secrets", operation="configure")
    return redact_secrets(redact if isinstance(redact, str) else list(redact))


def redacted(redact: Redactor, values: Sequence[object]) -> StepData:
    """The components of a step as the redactor gives them back; it sees them as a reader would.

    Raises:
        InvalidDataError: a value cannot be stored or read again, the redactor failed or gave back no StepData.
    """
    with refusing("the step", "redact failed"):
        answer = redact(_as_read(redact, values))
    if not isinstance(answer, StepData):
        raise InvalidDataError(f"redact must return StepData, not {type(answer).__name__}", operation="store")
    return answer


def _as_read(redact: Redactor, values: Sequence[object]) -> StepData:
    try:
        return StepData(
            *(None if value is None else _again(row, value) for row, value in zip(COMPONENTS, values, strict=True))
        )
    except InvalidDataError as error:
        why = str(error)
    raise refusal(redact, why)


def refusal(redact: Redactor, why: str) -> InvalidDataError:
    """Why a value is refused, which may quote a key, without what the redactor knows; so it is not chained.

    Raises:
        InvalidDataError: the redactor failed.
    """
    with refusing("the step", "redact failed"):
        return InvalidDataError(redact(StepData(html=why)).html or "the step cannot be stored")


def _again(row: ComponentSpec, value: object) -> Any:
    with refusing(row.keyword, "what cannot be read cannot be redacted"):
        return row.decode(row.encode(value, row.keyword))
