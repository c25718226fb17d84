"""The only functions that change a file. Each one does all of it or nothing.

What raises has changed nothing, or says so (`Unclean`). None overwrites anything: a name is given
by a rename that fails if the name is taken (renameat2 with RENAME_NOREPLACE on Linux, renamex_np on
macOS, os.rename on Windows). Where a file system has none (NFS), the name is claimed by an empty
file of our own, which the rename then replaces; `claim` is called before the first of these, so
that an empty file that a crash leaves is known to be ours.

Copies are made under a name of their own (`.NAME.ID.part`, in the target's folder) and appear
complete. They keep modification time, mode and extended attributes. A copy is not forced to the
drive, as `cp` does not either: its original stays. A move to another file system is: copied,
synced, read back from the drive, compared by SHA-256, named, the folder synced; only then the
original goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from imgrank.files.identity import Seen
from imgrank.store.digest import digest_file

__all__ = [
    "Unclean",
    "copy",
    "hardlink",
    "make_folder",
    "move",
    "move_across",
    "move_link",
    "part_of",
    "remove",
    "remove_folder",
    "symlink",
    "sync_folder",
]

LONGEST = 255  # bytes of a name
PIECE = 8 << 20  # bytes at a time
Call = Callable[[], object]


class Unclean(OSError):  # noqa: N818 - a state of the world, as in errors.py
    """It failed, and what was done could not be put back either; a later undo will look again."""


def make_folder(path: Path) -> bool:
    """True if it was made, False if it is there already. The folder above must be there."""
    try:
        path.mkdir()
    except FileExistsError:
        if path.is_dir():
            return False
        raise
    return True


def remove_folder(path: Path) -> bool:
    """Removes a folder of ours if it is empty; False if it is not, or is gone."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY):
            return False
        raise
    return True


def part_of(target: Path, operation: str, number: int) -> Path:
    """Name under which the file of step `number` is written before it appears as `target`."""
    name = f".{target.name}.{operation}.part"
    if len(os.fsencode(name)) > LONGEST:
        name = f".{number}.{operation}.part"
    return target.with_name(name)


def copy(source: Path, target: Path, part: Path, claim: Call = bool) -> None:
    """A copy of a regular file (of what a link leads to), which appears complete."""
    with _cleaned(part):
        _fill(source, part)
        _rename(part, target, claim)


def move(source: Path, target: Path, claim: Call = bool) -> None:
    """Another name for a file or link. Raises OSError EXDEV to another file system."""
    _rename(source, target, claim)


def move_across(
    source: Path, target: Path, part: Path, claim: Call = bool, *, like: Seen | None = None
) -> None:
    """A regular file to another file system. like: mode and time that it had there before."""
    found = os.lstat(source)
    with _cleaned(part):
        _fill(source, part, like=like, thorough=True)
        if _digest(part) != _digest(source):
            raise OSError(errno.EIO, "what was written does not read back as it was", str(part))
        _rename(part, target, claim)
    _then_remove(source, target, found)


def move_link(source: Path, target: Path, part: Path, text: str, claim: Call = bool) -> None:
    """A symbolic link, which gets another text on its way (so that it leads to the same file)."""
    found = os.lstat(source)
    with _cleaned(part):
        part.symlink_to(text)
        with _tolerant():
            os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
        with _tolerant():
            os.chown(part, found.st_uid, found.st_gid, follow_symlinks=False)
        _rename(part, target, claim)
    _then_remove(source, target, found)


def symlink(text: str, target: Path) -> None:
    """A new symbolic link."""
    target.symlink_to(text)


def hardlink(source: Path, target: Path) -> None:
    """Another name for a file, beside its old one; `source` is no symbolic link."""
    target.hardlink_to(source)


def remove(path: Path) -> None:
    """A copy or link that we made. The caller has just looked whether it still is."""
    path.unlink()


# ---- writing a copy ------------------------------------------------------------------------------

# What a file system says that cannot do a thing at all; other errors are trouble.
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_MAY_NOT = {*_CANNOT, errno.EPERM, errno.EACCES, getattr(errno, "ENODATA", errno.EINVAL)}
# Of an attribute; ext4 has room for 4 KiB a file and calls that "no space left".
_TOO_LARGE = {errno.E2BIG, errno.ENOSPC, errno.ERANGE}
_NO_RANGE = {*_CANNOT, errno.EXDEV, errno.EPERM, errno.EBADF, errno.ETXTBSY}


@contextlib.contextmanager
def _cleaned(part: Path) -> Iterator[None]:
    """Removes the part if it does not get its name."""
    try:
        yield
    except BaseException as error:
        try:
            part.unlink(missing_ok=True)
        except OSError as second:
            raise Unclean(second.errno, second.strerror, str(part)) from error
        raise


@contextlib.contextmanager
def _tolerant() -> Iterator[None]:
    """Not every file system keeps owners, modes, attributes; a copy without them is a copy."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MAY_NOT:
            raise


def _fill(source: Path, part: Path, *, like: Seen | None = None, thorough: bool = False) -> None:
    """Content, attributes, mode, time. thorough: also the owner, and all of it on the drive."""
    into = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    try:
        outof = os.open(source, os.O_RDONLY | _FLAGS)
        try:
            before = os.fstat(outof)
            _transfer(outof, into, before.st_size)
            after = os.fstat(outof)
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise OSError(errno.EBUSY, "it changed while it was copied", str(source))
            _dress(outof, into, part, before, like, own=thorough)
            if thorough:
                os.fsync(into)
        finally:
            os.close(outof)
    finally:
        os.close(into)


def _transfer(outof: int, into: int, size: int) -> None:
    """All bytes; inside the kernel where it can (and shares them where the file system can)."""
    done = 0
    with contextlib.suppress(AttributeError):  # only Linux has it
        try:
            while done < size and (n := os.copy_file_range(outof, into, size - done)):
                done += n
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
    while done < size and (piece := os.read(outof, PIECE)):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(into, rest) :]
        done += len(piece)
    if done != size:
        raise OSError(errno.EBUSY, "it changed while it was copied")


def _dress(
    outof: int, into: int, part: Path, found: os.stat_result, like: Seen | None, *, own: bool
) -> None:
    mode = like.mode if like else found.st_mode
    modified = like.mtime_ns if like else found.st_mtime_ns
    if hasattr(os, "listxattr"):
        with _tolerant():
            for name in os.listxattr(outof):
                with _tolerant():
                    _attribute(outof, into, name, own)
    if own and hasattr(os, "fchown"):
        with _tolerant():
            os.fchown(into, found.st_uid, found.st_gid)
    if hasattr(os, "fchmod"):
        with _tolerant():
            os.fchmod(into, stat.S_IMODE(mode))
    with _tolerant():
        at = into if os.utime in os.supports_fd else part
        os.utime(at, ns=(found.st_atime_ns, modified))


def _attribute(outof: int, into: int, name: str, needed: bool) -> None:
    """needed: the original will go, and the attribute with it."""
    try:
        os.setxattr(into, name, os.getxattr(outof, name))
    except OSError as error:
        if error.errno not in _TOO_LARGE:
            raise
        if needed:
            raise OSError(errno.E2BIG, "an attribute of it has no room there") from error


def _digest(path: Path) -> bytes:
    """SHA-256 of what is on the drive, not of what the kernel still has in memory of it."""
    if hasattr(os, "posix_fadvise"):
        file = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
    return digest_file(path)


def _then_remove(source: Path, target: Path, found: os.stat_result) -> None:
    """The end of a move by copy: the original goes, or, if it cannot, the copy.

    found: the original before it was read; somebody may have saved another one meanwhile.
    """
    try:
        sync_folder(target.parent)
        now = os.lstat(source)
        if (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
            raise OSError(errno.EBUSY, "it changed while it was moved", str(source))
        source.unlink()
    except BaseException as error:
        try:
            os.lstat(source)  # what cannot be looked at is taken for gone: then the copy stays
            target.unlink()
        except OSError as second:
            if isinstance(error, Exception):
                raise Unclean(second.errno, second.strerror, str(target)) from error
        raise


def sync_folder(path: Path) -> None:
    """The names in it, not the files."""
    if os.name == "nt":  # has no such thing
        return
    folder = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(folder)


_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


# ---- giving a name -------------------------------------------------------------------------------

_HERE, _NO_REPLACE, _EXCLUSIVE = -100, 1, 4  # AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCL
_libc = None if os.name == "nt" else ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)  # Linux
_renamex_np = getattr(_libc, "renamex_np", None)  # macOS
if _renameat2 is not None:
    _renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p]
    _renameat2.argtypes += [ctypes.c_uint]
if _renamex_np is not None:
    _renamex_np.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]


def _rename(source: Path, target: Path, claim: Call) -> None:
    """Raises FileExistsError if the name is taken."""
    if os.name == "nt":
        source.rename(target)
        return
    code = _rename_exclusive(os.fsencode(source), os.fsencode(target))
    if code in _CANNOT:
        claim()
        _rename_claimed(source, target)
    elif code:
        raise OSError(code, os.strerror(code), str(source), None, str(target))


def _rename_exclusive(source: bytes, target: bytes) -> int:
    """0 or errno."""
    if _renameat2 is not None:
        failed = _renameat2(_HERE, source, _HERE, target, _NO_REPLACE)
    elif _renamex_np is not None:
        failed = _renamex_np(source, target, _EXCLUSIVE)
    else:
        return errno.ENOSYS
    return ctypes.get_errno() if failed else 0


def _rename_claimed(source: Path, target: Path) -> None:
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    ours = os.fstat(file)
    os.close(file)
    renamed = False
    try:
        _check(target, ours)
        source.rename(target)
        renamed = True
    except BaseException as error:
        try:
            if not renamed:
                _check(target, ours)
                target.unlink()
        except FileExistsError:
            pass  # renamed, and interrupted only then; or somebody else's by now
        except OSError as second:
            if isinstance(error, Exception):
                raise Unclean(second.errno, second.strerror, str(target)) from error
        raise


def _check(target: Path, ours: os.stat_result) -> None:
    """Raises FileExistsError if it is not our empty file."""
    found = os.lstat(target)
    if found.st_size or not os.path.samestat(found, ours):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
