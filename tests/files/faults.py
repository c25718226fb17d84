"""Death and trouble at a chosen call of the operating system.

    with Trouble(Fault("death", 7), journals) as trouble: ...

counts every call that can change a file (also those behind pathlib and shutil, and the rename that
overwrites nothing, which goes through ctypes) and lets the 7th not happen. `death` is the end of
the process: this call and every later one raises `Died`, so that no code that cleans up can do
anything; the journal is afterwards as the kernel had it at that instant, not as Python's buffers
would still have left it.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import errno
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from unittest import mock

from imgrank.files import disk

Kind = Literal[
    "none",
    "death",
    "torn",
    "interrupt",
    "interrupts",
    "full once",
    "full",
    "denied once",
    "read-only",
    "broken once",
    "broken",
]
KINDS: tuple[Kind, ...] = (
    "death", "torn", "interrupt", "interrupts", "full once", "full", "denied once", "read-only",
    "broken once", "broken",
)  # fmt: skip

MAKING = ("open", "write", "mkdir", "symlink", "link", "sendfile", "copy_file_range", "fsync",
          "setxattr", "posix_fallocate", "pwrite", "mknod", "writev")  # fmt: skip
CHANGING = (*MAKING, "rename", "replace", "unlink", "remove", "rmdir", "utime", "chmod", "fchmod",
            "lchmod", "chown", "fchown", "truncate", "ftruncate", "fdatasync", "removexattr",
            "posix_fadvise")  # fmt: skip
TOLERANT = ("setxattr", "chmod", "fchmod", "chown", "fchown", "utime")
"""What not everybody may do everywhere: a copy is one without it."""

ERRORS = {
    "full": errno.ENOSPC,
    "denied": errno.EACCES,
    "read-only": errno.EROFS,
    "broken": errno.EIO,
}


class Died(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Fault:
    """What happens at the call number `at` (from 0).

    death: the end.   torn: half of what is written is written, then the end.   interrupt: Ctrl-C,
    and another one at the next call (`interrupts`).   full, denied, read-only, broken: the error
    of that name, at this call alone (`once`) or from it on: on a full disk what makes or grows
    something fails, what takes away or renames does not.
    """

    kind: Kind
    at: int = 0


class Trouble:
    """Counts and fails.

    calls: what was called so far.   died: whether the process has ended.   hit: whether anything
    went wrong.   error: what was raised.   left: the journals at the death, and how many of their
    bytes were synced.
    """

    def __init__(
        self,
        fault: Fault,
        journals: Path,
        *,
        synced: Mapping[int, int] = MappingProxyType({}),
        exclusive: bool = True,
    ) -> None:
        """synced: bytes of the journals that are on the drive already, by inode.

        exclusive: whether the file systems know a rename that overwrites nothing (NFS does not).
        """
        self.fault = fault
        self.journals = journals
        self.exclusive = exclusive
        self.calls: list[tuple[str, str]] = []
        self.died = False
        self.hit = False
        self.error: BaseException | None = None
        self.synced = dict(synced)
        self.left: dict[Path, tuple[bytes, int]] = {}
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Trouble:
        for name in CHANGING:
            if hasattr(os, name):
                self.patch(os, name)
        real_open = builtins.open
        self.stack.enter_context(mock.patch("builtins.open", self.opening(real_open)))
        self.stack.enter_context(mock.patch("io.open", self.opening(real_open)))
        for name, value in list(vars(disk).items()):
            if isinstance(value, ctypes._CFuncPtr):  # type: ignore[attr-defined]
                self.stack.enter_context(mock.patch.object(disk, name, self.foreign(name, value)))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Keeps what was raised in `error`; the journals are as the dead process left them."""
        self.stack.close()
        self.error = error
        if error is not None:
            traceback.clear_frames(error.__traceback__)
            error.__traceback__ = None
        for path, (content, _) in self.left.items():
            path.write_bytes(content)
        if self.died:
            for path in self.journals.glob("*.jsonl") if self.journals.is_dir() else ():
                if path not in self.left:
                    path.unlink()
        return isinstance(error, Died | Exception | KeyboardInterrupt)

    def power_loss(self, share: float) -> None:
        """Takes a share (0 to 1) of what the journals were not yet asked to sync."""
        for path, (content, synced) in self.left.items():
            lost = round((len(content) - synced) * share)
            path.write_bytes(content[: len(content) - lost])

    def patch(self, module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.exempt(name, args):
                return real(*args, **kwargs)
            if torn := self.happens(name, args):
                with contextlib.suppress(Exception):
                    half(name, real, args)
                self.die()
            result = real(*args, **kwargs)
            if name in ("fsync", "fdatasync") and not torn:
                status = os.fstat(args[0])
                self.synced[status.st_ino] = status.st_size
            return result

        call.__name__ = name
        for group in (os.supports_follow_symlinks, os.supports_fd, os.supports_dir_fd):
            if real in group:
                group.add(call)
                self.stack.callback(group.discard, call)
        self.stack.enter_context(mock.patch.object(module, name, call))

    def opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            named = isinstance(file, str | bytes | os.PathLike)
            counted = named and set(mode) & set("wax+") and not self.exempt("open", (file,))
            if counted and self.happens("open", (file, os.O_CREAT)):
                self.die()
            return real(file, mode, *args, **kwargs)

        return call

    def foreign(self, name: str, real: Any) -> Callable[..., int]:
        """A function of the C library: it fails by -1 and errno."""

        def call(*args: Any) -> int:
            if not self.exclusive:
                ctypes.set_errno(errno.EINVAL)
                return -1
            try:
                if self.happens("rename", args):
                    self.die()
            except OSError as error:
                ctypes.set_errno(error.errno or 0)
                return -1
            return int(real(*args))

        return call

    def exempt(self, name: str, args: tuple[Any, ...]) -> bool:
        """Lock files: the kernel lets go of them at a real death. Reading changes nothing."""
        if (
            name == "open"
            and len(args) > 1
            and not args[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)
        ):
            return True
        path = args[0] if args else ""
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).endswith(".lock")

    def happens(self, name: str, args: tuple[Any, ...]) -> bool:
        """Counts a call; raises what is due. True: write half of it and die."""
        number = len(self.calls)
        self.calls.append((name, " ".join(str(arg)[-60:] for arg in args[:4])))
        if self.died:
            raise Died
        kind, at = self.fault.kind, self.fault.at
        if kind == "none" or number < at:
            return False
        self.hit = True
        if kind == "torn":
            return True
        if kind == "death":
            self.die()
        if kind in ("interrupt", "interrupts"):
            if number < at + len(kind) - len("interrupt") + 1:
                raise KeyboardInterrupt
            return False
        what, _, once = kind.partition(" ")
        if what == "denied" and name in TOLERANT:
            return False
        if (once and number > at) or (what == "full" and name not in MAKING):
            return False
        code = ERRORS[what]
        raise OSError(code, os.strerror(code), *args[:1])

    def die(self) -> None:
        self.died = True
        for path in self.journals.glob("*.jsonl") if self.journals.is_dir() else ():
            synced = self.synced.get(path.stat().st_ino, 0)
            self.left[path] = (path.read_bytes(), synced)
        raise Died


def half(name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Half of a call that writes."""
    if name in ("write", "pwrite"):
        real(args[0], args[1][: len(args[1]) // 2], *args[2:])
    elif name == "sendfile":
        real(args[0], args[1], args[2], max(args[3] // 2, 1))
    elif name == "copy_file_range":
        real(args[0], args[1], max(args[2] // 2, 1))
