"""Find the Playwright calls that act on a page or check it, and leave out private parts of calls.

The names come from `protocolMetainfo.ts`. By default, Playwright's viewer also hides the groups "getter",
"configuration" and "route".
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["acts", "is_private", "is_step", "public"]

_READS = {"title", "content", "textContent", "innerText", "innerHTML", "getAttribute", "inputValue", "boundingBox"}
_READS |= {"isVisible", "isHidden", "isEnabled", "isDisabled", "isEditable", "isChecked", "queryCount"}
_READS |= {"querySelector", "querySelectorAll", "frameElement", "contentFrame", "ownerFrame"}
_READS |= {"getPropertyList", "getProperty", "jsonValue", "ariaSnapshot", "ariaSnapshotJSON", "resolveSelector"}
_READS |= {"screenshot", "pdf", "consoleMessages", "clearConsoleMessages", "pageErrors", "clearPageErrors", "requests"}
_READS |= {"cookies", "storageState", "webStorageItems", "webStorageGetItem", "credentialsGet", "body"}
_WAITS = {"waitForTimeout", "waitForSelector", "waitForFunction", "waitForElementState", "waitForEventInfo"}
_WAITS |= {"waitForLoadState", "waitForNavigation", "waitForURL", "__waitInfo__", "pause"}
_SETS_UP = {"addCookies", "clearCookies", "setStorageState", "webStorageSetItem", "webStorageRemoveItem"}
_SETS_UP |= {"webStorageClear", "addInitScript", "exposeBinding", "grantPermissions", "clearPermissions"}
_SETS_UP |= {"setExtraHTTPHeaders", "setGeolocation", "setHTTPCredentials", "setTestIdAttributeName", "newCDPSession"}
_SETS_UP |= {"credentialsInstall", "credentialsCreate", "credentialsDelete", "registerSelectorEngine"}
_SETS_UP |= {"registerLocatorHandler", "unregisterLocatorHandler", "requestGC", "highlight", "hideHighlight"}
_SETS_UP |= {"startJSCoverage", "stopJSCoverage", "startCSSCoverage", "stopCSSCoverage", "updateSubscription"}
_SETS_UP |= {"setNetworkInterceptionPatterns", "setWebSocketInterceptionPatterns", "pickLocator", "cancelPickLocator"}
_SETS_UP |= {"screencastStart", "screencastStop", "screencastShowOverlay", "screencastRemoveOverlay"}
_SETS_UP |= {"screencastChapter", "screencastSetOverlayVisible", "screencastShowActions", "screencastHideActions"}
_ANSWERS = {("Route", "abort"), ("Route", "continue"), ("Route", "fulfill")}
_REQUESTS = {"fetch", "fetchResponseBody"}  # made by the script, not by a page
_QUIET = _READS | _WAITS | _SETS_UP | _REQUESTS
_CHECKS = {"expect", "expectScreenshot"}

_PRIVATE = {"addCookies", "cookies", "storageState", "setStorageState", "setExtraHTTPHeaders", "setHTTPCredentials"}
_PRIVATE |= {"webStorageItems", "webStorageGetItem", "webStorageSetItem", "credentialsCreate", "credentialsGet"}
_PRIVATE |= {"fetch", "fetchResponseBody"}  # the log of a request lists its headers, too
_SECRETS = {"cookies", "cookie", "headers", "extrahttpheaders", "storagestate", "httpcredentials", "clientcertificates"}
_DEPTH = 3  # `headers` of a response are in result.response


def is_step(kind: str, method: str) -> bool:
    """Return True if a call acts on a page, opens a page or checks it. Such a call becomes a step."""
    return method not in _QUIET and (kind, method) not in _ANSWERS


def acts(kind: str, method: str) -> bool:
    """Return True if a call may change what a page shows."""
    return is_step(kind, method) and method not in _CHECKS


def is_private(method: str) -> bool:
    """Return True if a call sets or returns cookies, storage, headers or credentials."""
    return method in _PRIVATE


def public(value: Any, depth: int = _DEPTH) -> Any:
    """Return a value without cookies, headers, storage state and credentials."""
    if not isinstance(value, Mapping) or not depth:
        return value
    return {name: public(inner, depth - 1) for name, inner in value.items() if name.lower() not in _SECRETS}
