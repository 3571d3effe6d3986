"""Redaction: remove secrets from a step before any of it is written.

A redactor is a function that takes a StepData and returns a StepData. `redact_secrets` returns a redactor that masks
the given texts in the encodings that pages and agents use.
"""

import re
from collections.abc import Callable, Sequence, Set
from datetime import datetime
from typing import Any

from storage_manager.encoding import decode_json, encode_json
from storage_manager.errors import InvalidDataError, refusing
from storage_manager.layout import COMPONENTS, SESSION_METADATA_FILENAME, ComponentSpec, StepData

__all__ = [
    "Redactor",
    "as_redactor",
    "method_for_files",
    "redact_secrets",
    "redacted",
    "redacted_file",
    "redacted_metadata",
    "refusal",
]

Redactor = Callable[[StepData], StepData]

_TEXT = re.compile(r"[^\ud800-\udfff]+")  # a lone surrogate has no UTF-8 form, so no stored file can hold it


def redact_secrets(secrets: Sequence[str], mask: str = "[redacted]") -> Redactor:
    r"""Return a redactor that masks every secret in HTML, action and metadata, even if the secret is encoded.

    It also masks secrets in the metadata of a session, and in each attachment that is text: valid UTF-8 without NUL.
    Screenshots do not change, and may show a secret. Session and step ids do not change either.

    These encodings of a secret are found:

    - percent-encoding of UTF-8, Latin-1 or Windows-1252, once or several times, with `+` for a space (RFC 3986, section
      2.1), and `%uXXXX` (ECMA-262, B.2.1.1);
    - the escapes of JSON, JavaScript, CSS and Python (RFC 8259, section 7; CSS Syntax, 4.3.7);
    - HTML's character references (HTML standard, 13.1.4), also the numbers of Windows-1252, and a no-break space for a
      space;
    - two of these encodings, one inside the other, except for letters and digits;
    - base64 of any of these, or of UTF-16, anywhere in the encoded text, if the secret has 4 bytes or more (RFC 4648,
      sections 4 and 5). The base64 may be in several lines, also if the line ends are encoded again;
    - UTF-16 that was read as UTF-8, so that there is a NUL beside each letter;
    - line ends of another kind, and white space around them. If the secret has 16 characters or more, its line ends
      may also be missing.

    In JSON, keys and numbers are searched, too. These forms of a secret are not found:

    - a secret that is cut in pieces, compressed, encrypted or hashed;
    - other encodings, because there are too many. Examples are `\46` in octal, base32, base64 of base64,
      quoted-printable, hexadecimal, and UTF-8 that was read as Latin-1;
    - percent-encoding whose percent sign is in another encoding (`&#37;26`);
    - base64 of a secret whose letters are encoded one by one, and base64 in lines that begin with other text (`>`).
      To search for them would make every page slow;
    - if the secret has `%`, `&` or a backslash: line ends other than CR LF, LF and CR. If the secret looks encoded
      itself (`%5c`, `&bsol;`, `\5c`): a backslash that was encoded twice. Such a text can be read in too many ways.

    The time is linear in the size of a page, for every secret and every page. A page of 1 MB takes 50 to 150 ms with
    five secrets. The first page that may contain a secret takes longer: 1 to 2 seconds for a key of 1,700 characters.

    Parameters:
        secrets: passwords, tokens and other texts that must not be stored. None of them may be empty.
        mask: the text that replaces each secret. It may be empty. If the mask and the text beside it form a secret,
            they are masked, too. If this happens more than three times, the whole text is masked.

    >>> step = StepData(html="<a href='/?t=tok%26n'>tok&amp;n</a>", action={"type": "fill", "text": "tok&n"})
    >>> redact_secrets(["tok&n"])(step).html
    "<a href='/?t=[redacted]'>[redacted]</a>"

    Raises:
        InvalidDataError: secrets is a str; a secret is empty or not a str; or the mask is not a str, or contains a
            secret.
    """
    if isinstance(secrets, str) or not all(isinstance(secret, str) and _TEXT.fullmatch(secret) for secret in secrets):
        raise InvalidDataError("redact takes a list of secrets; each is a str that is not empty", operation="configure")
    if not isinstance(mask, str) or not _TEXT.fullmatch(mask or "-"):
        raise InvalidDataError("the mask must be a text that UTF-8 can encode", operation="configure")
    from storage_manager.redaction.masking import Masking  # importing its tables takes 6 ms

    return Masking(secrets, mask)


def as_redactor(redact: "Redactor | Sequence[str] | None") -> Redactor | None:
    """Return a redactor unchanged, or create a redactor from a list of secrets.

    Raises:
        InvalidDataError: the argument is neither a function nor a list of secrets.
    """
    if redact is None or callable(redact):
        return redact
    if not isinstance(redact, (Sequence, Set)):
        raise InvalidDataError("redact must be a function or a list of secrets", operation="configure")
    return redact_secrets(redact if isinstance(redact, str) else list(redact))


def redacted(redact: Redactor, values: Sequence[object]) -> StepData:
    """Return the components of a step as the redactor returns them. It gets the values that a reader would get.

    Raises:
        InvalidDataError: a value cannot be stored or read again, the redactor failed, or it did not return StepData.
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


def redacted_file(redact: Redactor, name: str, data: bytes) -> bytes:
    """Return an attachment, or the metadata file of a session, as the redactor returns it.

    Raises:
        InvalidDataError: the redactor has no method `redact_attachment(name, data)`, or it failed.
    """
    method = method_for_files(redact, name)
    with refusing(_called(name), "redact_attachment failed"):
        answer = method(name, data)
    if not isinstance(answer, bytes):
        raise InvalidDataError(f"redact_attachment must return bytes, not {type(answer).__name__}", operation="store")
    return answer


# The fields and values that the library itself writes contain no secret.
_OUTCOMES = ("success", "failure", "error", "cancelled")


def redacted_metadata(redact: Redactor, data: bytes) -> bytes:
    """Return the metadata of a session, as JSON, as the redactor returns it.

    Raises:
        InvalidDataError: the redactor failed; or it can redact only steps, and a field is not one of the library's own.
    """
    if not hasattr(redact, "redact_attachment") and all(_is_own(*item) for item in decode_json(data).items()):
        return data
    data = redacted_file(redact, SESSION_METADATA_FILENAME, data)
    with refusing("the metadata of the session", "redact_attachment must return a JSON object"):
        return encode_json(decode_json(data), "metadata")


def _is_own(name: str, value: object) -> bool:
    if name in ("started_at", "ended_at"):
        try:
            return bool(datetime.fromisoformat(str(value)))
        except ValueError:
            return False
    return value in {"outcome": _OUTCOMES, "observed": ("before", "after")}.get(name, ())


def method_for_files(redact: Redactor, name: str) -> Callable[[str, bytes], bytes]:
    """Return the method of a redactor for attachments and session metadata.

    Raises:
        InvalidDataError: the redactor has no such method.
    """
    method: Callable[[str, bytes], bytes] | None = getattr(redact, "redact_attachment", None)
    if method is None:
        why = f"{_called(name)} cannot be stored: the redactor knows only steps"
        advice = "give the redactor a method redact_attachment(name, data) -> data, or use redact_secrets"
        raise InvalidDataError(f"{why}; {advice}", operation="store")
    return method


def _called(name: str) -> str:
    return "the metadata of the session" if name.startswith("_") else f"the attachment {name}"


def refusal(redact: Redactor, why: str) -> InvalidDataError:
    """Return an error whose text is redacted. Do not chain it: its cause may contain a secret.

    Raises:
        InvalidDataError: the redactor failed.
    """
    with refusing("the step", "redact failed"):
        return InvalidDataError(redact(StepData(html=why)).html or "the step cannot be stored")


def _decoded_again(row: ComponentSpec, value: object) -> Any:
    with refusing(row.keyword, "it cannot be decoded again, so it cannot be redacted"):
        return row.decode(row.encode(value, row.keyword))
