"""Translate obstore's errors into errors of s3fs, so that both engines raise the same errors with the same text.

An obstore error has only a text: a sentence, the answer of the service, and a dump of the Rust error (as of obstore
0.12). The translated error is not chained to it, because the answer may quote the request with its token.
"""

import errno
import re
from http.client import responses
from typing import Any
from xml.etree import ElementTree

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)
from obstore.exceptions import BaseError
from s3fs.errors import translate_boto_error

__all__ = ["FAILURES", "UnreadableAnswerError", "translated"]

FAILURES = (BaseError, OSError, ValueError)  # obstore raises these; a missing object is a FileNotFoundError

# What obstore writes before and after the answer, and the status at the beginning of the answer.
_BEFORE, _AFTER = "Server returned non-2xx status code: ", "\n\nDebug source"
_STATUS = re.compile(r"(\d{3})\b[^:]{0,100}: ")
_REQUEST = re.compile(r"Error performing [A-Z]+ (\S+) in ")
# obstore needs headers that some services do not send, such as Content-Length and a valid Last-Modified.
_UNREADABLE = re.compile(
    "Got invalid|Invalid last modified|Unable to extract metadata|ETag Header missing|Content-Length Header missing"
)
# These are whole lines of the dump, not words: the text also has the key, which may contain any word.
_CONNECTING, _TIMED_OUT = (
    re.compile("^ *(kind: )?Connect,$", re.MULTILINE),
    re.compile("^ *kind: Timeout,$", re.MULTILINE),
)
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_CONNECTION_ERRORS = {
    # connecting, timed out
    (True, True): ConnectTimeoutError,
    (True, False): EndpointConnectionError,
    (False, True): ReadTimeoutError,
    (False, False): ConnectionClosedError,
}


class UnreadableAnswerError(OSError):
    """obstore could not read the headers of an answer. s3fs may be able to read them."""


def translated(error: Exception, operation: str, endpoint: str) -> Exception:
    """Return the s3fs error for an obstore error.

    Parameters:
        operation: the operation, with botocore's name.
        endpoint: the URL for the message if the error does not name one.
    """
    text = str(error)
    answer = text.partition(_BEFORE)[2].partition(_AFTER)[0]
    status = _STATUS.match(answer)
    if status:
        return _refusal(_response(int(status[1]), answer[status.end() :]), operation)
    if "Received redirect without LOCATION" in text:
        return _refusal(_error_answer("PermanentRedirect", "the bucket is in another region", 301), operation)
    if "HTTP error" in text:
        return _connection_error(text, endpoint)
    if _UNREADABLE.search(text):
        return UnreadableAnswerError(errno.EPROTO, f"the answer to {operation} is not from S3")
    return OSError(errno.EIO, text.partition("\n")[0])


def _refusal(response: dict[str, Any], operation: str) -> Exception:
    error: Exception = translate_boto_error(ClientError(response, operation))
    return error


def _error_answer(code: str, message: str, status: int, content_type: str = "") -> dict[str, Any]:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"content-type": content_type}}
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}


def _response(status: int, body: str) -> dict[str, Any]:
    """Return an answer as botocore parses it: with the code in its XML or, if there is none, the status."""
    try:
        document = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        document = ElementTree.Element("")
    found = {element.tag.rpartition("}")[2]: element.text or "" for element in document}
    page = "text/html" if re.match(r"\s*<(!doctype )?html", body, re.IGNORECASE) else ""
    return _error_answer(found.get("Code", str(status)), found.get("Message", responses.get(status, "")), status, page)


def _connection_error(text: str, endpoint: str) -> Exception:
    request = _REQUEST.search(text)
    kind = _CONNECTION_ERRORS[bool(_CONNECTING.search(text)), bool(_TIMED_OUT.search(text))]
    refused = _CERTIFICATE.search(text)
    url = request[1] if request else endpoint
    error: Exception = SSLError(endpoint_url=url, error=refused[1]) if refused else kind(endpoint_url=url)
    return error
