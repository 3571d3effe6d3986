"""What obstore's errors say, as the errors that s3fs has for the same: one class and one text for both engines.

obstore gives a text alone: a sentence, what the service answered, and a dump of its own (as of obstore 0.12). What
is raised for it is not chained to it: the answer may quote the request, with its token.
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

__all__ = ["FAILURES", "leaves_some", "translated"]

FAILURES = (BaseError, OSError, ValueError)  # what obstore raises; a missing file is Python's own FileNotFoundError

_ANSWER = re.compile(r"non-2xx status code: (\d+)[^:]*: (.*?)(?:\n\nDebug source|\Z)", re.DOTALL)
_REQUEST = re.compile(r"Error performing [A-Z]+ (\S+) in ")
# One key was refused; or nothing is said of any, as is right where only refusals are asked for.
_LEFT = re.compile("DeleteObjects request failed for key|invalid DeleteObjects response: missing field")
_NOT_S3 = re.compile("Got invalid|Unable to extract metadata|ETag Header missing|Content-Length Header missing")
# Lines of the dump, and not words: the text names the key too, which may have any word in it.
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


def leaves_some(error: Exception) -> bool:
    """True where a bulk deletion was carried out, for all that is known; what it left is listed again."""
    return _LEFT.search(str(error)) is not None


def translated(error: Exception, operation: str, endpoint: str) -> Exception:
    """The error of s3fs for one of obstore.

    Parameters:
        operation: as botocore names it.
        endpoint: where the request went, if the error does not say.
    """
    text = str(error)
    answer = _ANSWER.search(text)
    if answer:
        return _refusal(_response(int(answer[1]), answer[2]), operation)
    if "Received redirect without LOCATION" in text:
        return _refusal(_said("PermanentRedirect", "the bucket is in another region", 301), operation)
    if "HTTP error" in text:
        return _connection_error(text, endpoint)
    if _NOT_S3.search(text):
        return OSError(errno.EPROTO, f"what answered {operation} is not S3")
    return OSError(errno.EIO, text.partition("\n")[0])


def _refusal(response: dict[str, Any], operation: str) -> Exception:
    error: Exception = translate_boto_error(ClientError(response, operation))
    return error


def _said(code: str, message: str, status: int, content_type: str = "") -> dict[str, Any]:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"content-type": content_type}}
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}


def _response(status: int, body: str) -> dict[str, Any]:
    """As botocore reads an answer: the code in its XML, else the status."""
    try:
        document = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        document = ElementTree.Element("")
    found = {element.tag.rpartition("}")[2]: element.text or "" for element in document}
    page = "text/html" if re.match(r"\s*<(!doctype )?html", body, re.IGNORECASE) else ""
    return _said(found.get("Code", str(status)), found.get("Message", responses.get(status, "")), status, page)


def _connection_error(text: str, endpoint: str) -> Exception:
    request = _REQUEST.search(text)
    kind = _CONNECTION_ERRORS[bool(_CONNECTING.search(text)), bool(_TIMED_OUT.search(text))]
    refused = _CERTIFICATE.search(text)
    url = request[1] if request else endpoint
    error: Exception = SSLError(endpoint_url=url, error=refused[1]) if refused else kind(endpoint_url=url)
    return error
