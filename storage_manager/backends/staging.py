"""Hidden names for files that are being written or deleted, and the removal of what killed writers left.

A hidden name is usually at the root, so that no listing or deletion of a session finds it. A rename then publishes the
step. But a file keeps the group and the ACL of the directory in which it was created. If a session and the root differ
in group or ACL, or if the root is not writable, the hidden name is in the session. It is two levels deep,
`<session>/.staging-<hex>/.staging-<hex>`, so that no pattern such as `<root>/*/*/metadata.json` matches a file in it.
"""

import contextlib
import errno
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from storage_manager.backends.base import STAGED, STAGING_PREFIX, hidden_name
from storage_manager.layout import is_id, is_system_file

__all__ = [
    "BUSY",
    "STALE_SECONDS",
    "Staging",
    "cannot_rename",
    "files_left",
    "is_about_root",
    "is_staged_now",
    "link_error",
    "refuse_links",
    "refuse_other_names",
    "remove_staged",
    "remove_tree",
    "sweep",
    "unlink_files",
]

logger = logging.getLogger(__name__)

STALE_SECONDS = 3600  # a write takes seconds, so a killed writer left a staged file that is an hour old
KEPT_SESSIONS = 10_000  # sessions whose decisions are kept
BUSY = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EBUSY)  # others still use the directory

# The errors with which file systems refuse to rename a directory: overlayfs for one of a lower layer (EXDEV, Linux,
# Documentation/filesystems/overlayfs.rst), mounts of object stores because they would have to copy every file in it.
_NO_RENAME = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMFILE)
# After these errors, a hidden name in the session is tried: the root is not writable, or is on another disk.
_NOT_AT_ROOT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV)
_ACLS = ("system.posix_acl_default", "system.nfs4_acl")


class _Decision(NamedTuple):
    """The decision if the hidden names of a session are in it, and the state of its directory at that time."""

    state: tuple[int, ...]
    is_inside: bool


class Staging:
    """The hidden names below a root: at the root or, if necessary, in a session.

    Parameters:
        root: the directory; "" to stage each file in its own directory.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._root_names = f"{root}/{STAGING_PREFIX}"
        self._decisions: dict[str, _Decision] = {}

    def session_of(self, path: str) -> str | None:
        """Return the session of a path, which may be the session itself; None if the path is not below the root."""
        if not self.root or not path.startswith(f"{self.root}/"):
            return None
        return f"{self.root}/{path[len(self.root) + 1 :].partition('/')[0]}"

    def new_path(self, session: str | None, directory: str) -> str:
        """Return a new hidden path for a file or directory that will be renamed.

        Parameters:
            session: the session into which it will be renamed; None if it is not below the root.
            directory: the directory for the hidden path if there is no session.
        """
        if session is None:
            return f"{directory}/{hidden_name()}"
        return self.new_inside(session) if self._is_inside(session) else self.new_at_root()

    def new_at_root(self) -> str:
        """Return a new hidden path at the root."""
        return f"{self.root}/{hidden_name()}"

    def new_inside(self, session: str) -> str:
        """Return a new hidden path in a session, in a hidden directory that is created."""
        outer = f"{session}/{hidden_name()}"
        os.mkdir(outer)
        return f"{outer}/{hidden_name()}"

    def end(self, path: str) -> None:
        """Remove the hidden directory around a hidden path, if there is one."""
        if path.startswith(self._root_names):
            return
        outer = os.path.dirname(path)
        if STAGED.fullmatch(os.path.basename(outer)):
            with contextlib.suppress(OSError):
                os.rmdir(outer)

    def _is_inside(self, session: str) -> bool:
        try:
            status = os.lstat(session)
        except OSError:  # a new session is published from the root
            return False
        if stat.S_ISLNK(status.st_mode):
            raise link_error(session)
        state = (status.st_dev, status.st_ino, status.st_mode, status.st_gid)
        known = self._decisions.get(session)
        if known is None or known.state != state:
            known = self._keep(session, _Decision(state, _given(session) != _given(self.root)))
        return known.is_inside

    def move_inside(self, session: str | None, error: OSError) -> bool:
        """After an error at the root, decide that the hidden names of a session are in the session from now on.

        Returns:
            False if that does not help: it is another error, the names are there already, or the session is missing.
        """
        if session is None or not is_about_root(error) or self._is_inside(session):
            return False
        known = self._decisions.get(session)  # `_is_inside` has just looked at it
        if known is None or not os.path.isdir(session):
            return False
        self._keep(session, known._replace(is_inside=True))
        return True

    def forget(self, session: str | None) -> None:
        """Forget the decision for a session."""
        self._decisions.pop(session or "", None)

    def _keep(self, session: str, decision: _Decision) -> _Decision:
        if len(self._decisions) >= KEPT_SESSIONS:
            self._decisions.clear()
        self._decisions[session] = decision
        return decision


def refuse_links(root: str, path: str) -> None:
    """Raise an error if a path is a symbolic link below the root, or leads through such a link.

    The path may be written in any way: with `..` or `//`, or below another name of the root.
    """
    part = ""
    for name in path.split("/")[1:] if root else ():
        part = f"{part}/{name}"
        if os.path.islink(part) and _is_below(os.path.dirname(part), root):
            raise link_error(part)


def refuse_other_names(root: str, path: str) -> None:
    """Raise an error if a file below the root has other names (hard links): a write would change these too."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 and root and _is_below(os.path.dirname(path), root):
            why = "the file has other names (hard links), and would change under these, too: delete it first"
            raise OSError(errno.EMLINK, why, path)


def _is_below(directory: str, root: str) -> bool:
    above = os.path.realpath(root).rstrip("/")
    return f"{os.path.realpath(directory)}/".startswith(f"{above}/")


def link_error(path: str) -> OSError:
    """Return the error for a link that is refused."""
    return OSError(errno.ELOOP, "a symbolic link: nothing is written or deleted through one", path)


def _given(directory: str) -> tuple[object, ...]:
    """Return the properties that new files get from a directory: its disk, group and default ACLs."""
    status = os.stat(directory)
    acls = [_attribute(directory, name) for name in _ACLS]
    return status.st_dev, status.st_gid, status.st_mode & stat.S_ISGID, *acls


def _attribute(path: str, name: str) -> bytes | None:
    if not hasattr(os, "getxattr"):  # only Linux has it
        return None
    try:
        return os.getxattr(path, name)
    except OSError:  # it has none, or the file system knows none
        return None


def is_about_root(error: OSError) -> bool:
    """Return True if a hidden name at the root caused the error, so that a name in the session may be possible."""
    return error.errno in _NOT_AT_ROOT


def cannot_rename(error: OSError, directory: str) -> bool:
    """Return True if the file system cannot rename directories, or cannot rename this directory.

    EPERM may also mean that a permission is missing. So this tries to rename a new, empty directory.

    Parameters:
        error: the error that renaming a directory raised.
        directory: a writable directory for the test.
    """
    return error.errno in _NO_RENAME or (error.errno == errno.EPERM and not _renames_directories(directory))


def _renames_directories(directory: str) -> bool:
    first, second = (f"{directory}/{hidden_name()}" for _ in range(2))
    try:
        os.mkdir(first)
    except OSError:  # it may not be written, so the error was about a permission
        return True
    try:
        os.rename(first, second)
    except OSError:
        os.rmdir(first)
        return False
    os.rmdir(second)
    return True


def files_left(directory: str) -> list[str]:
    """Return the files below a directory that can be listed, relative to it."""
    found, waiting = list[str](), [""]
    while waiting:
        prefix = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(f"{directory}/{prefix}") as entries:
            for entry in entries:
                is_directory = entry.is_dir(follow_symlinks=False)
                (waiting if is_directory else found).append(f"{prefix}{entry.name}{'/' * is_directory}")
    return sorted(found)


DEEP = 2000  # bytes of a path; directories with longer paths are moved up before they are removed


def remove_tree(top: str) -> None:
    """Remove a directory with everything in it, at any depth.

    Raises:
        OSError: a file or directory cannot be removed. Others may have been removed before.
    """
    try:
        shutil.rmtree(top)  # it recurses, and has one file open for each level
    except RecursionError:
        _remove_deep(top)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENAMETOOLONG):
            raise
        _remove_deep(top)


def _remove_deep(top: str) -> None:
    """Remove a directory without recursion, and with short paths."""
    waiting = [top]
    while waiting:
        directory = waiting[-1]
        below = unlink_files(directory)
        if not below:
            os.rmdir(directory)
            waiting.pop()
        elif len(os.fsencode(directory)) < DEEP or directory == top:
            waiting += below
        else:
            waiting += [_move_up(path, top) for path in below]


def unlink_files(directory: str) -> list[str]:
    """Remove the files in a directory. Return the paths of its subdirectories."""
    with os.scandir(directory) as entries:
        found = list(entries)
    below = []
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            below.append(entry.path)
        else:
            os.unlink(entry.path)
    return below


def _move_up(path: str, top: str) -> str:
    moved = f"{top}/{hidden_name()}"
    os.rename(path, moved)
    return moved


def is_staged_now(entry: "os.DirEntry[str]") -> bool:
    """Return True if a directory entry is a hidden name of a writer that may still be running."""
    return STAGED.fullmatch(entry.name) is not None and _modified(entry) >= time.time() - STALE_SECONDS


def sweep(root: str, older_than: float, sessions: Iterable[str] | None = None) -> int:
    """Remove staged files at a root and in its sessions that are older than this many seconds. Return how many.

    Parameters:
        sessions: the directories of the sessions to search; None for all.

    Raises:
        OSError: a file cannot be removed, for example because it belongs to another user. All others are removed.
    """
    limit, failed = time.time() - older_than, list[OSError]()
    count = _sweep_directory(root, limit, failed)
    for session in _sessions(root) if sessions is None else sessions:
        try:
            count += _sweep_directory(session, limit, failed)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            logger.warning("cannot sweep %s: %s", session, error)
    if failed:
        raise failed[0]
    return count


def _sessions(root: str) -> Iterator[str]:
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if is_id(entry.name) and entry.is_dir(follow_symlinks=False)]
    return (f"{root}/{name}" for name in names)


def _sweep_directory(directory: str, limit: float, failed: list[OSError]) -> int:
    with os.scandir(directory) as entries:
        staged = [entry for entry in entries if STAGED.fullmatch(entry.name)]
    return sum(_try_to_remove(entry, failed) for entry in staged if _modified(entry) < limit)


def _try_to_remove(entry: "os.DirEntry[str]", failed: list[OSError]) -> bool:
    try:
        return remove_staged(entry)
    except PermissionError as error:
        failed.append(error)
        return False


def remove_staged(entry: "os.DirEntry[str]") -> bool:
    """Remove a staged file or directory. Return False if another process removed it first, or still uses a file in it.

    It is renamed first. So a writer that still uses it does not find it, and begins again. Without the rename, the
    writer could publish it after half of it is removed.
    """
    directory = os.path.dirname(entry.path)
    path = f"{directory}/{hidden_name()}"
    try:
        try:
            os.rename(entry.path, path)
        except OSError as error:
            if not cannot_rename(error, directory):
                raise
            path = entry.path
        (remove_tree if entry.is_dir(follow_symlinks=False) else os.unlink)(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in BUSY and all(map(is_system_file, files_left(path))):
            return False
        raise
    return True


def _modified(entry: "os.DirEntry[str]") -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # a writer published it meanwhile
        return time.time()
