"""Paths that a user named -> the candidate pictures in them. Nothing is opened, only listed.

Folders are walked to the bottom, each once (by device and inode, so that a link back to a parent is
survived), names in order. In a folder only files with a picture's suffix count (`formats.py`), and
hidden ones (a leading dot, which covers the `._*` files of macOS) do not; a file that the user
named is always tried. What cannot be used becomes a `Skip`.
"""

from __future__ import annotations

import difflib
import errno
import fnmatch
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

from imgrank.errors import UsageError
from imgrank.images import ImageFile, Skip
from imgrank.images.formats import SUFFIXES

__all__ = ["read_paths", "require", "scan"]

_CHUNK = 1 << 16

_Key = tuple[int, int]
"""Device and inode: what a folder is, by whatever path it was reached."""


def scan(
    paths: Iterable[Path],
    *,
    listed: Iterable[Path] = (),
    include_hidden: bool = False,
    exclude: Sequence[str] = (),
    leave_out: Path | None = None,
    left_out: Callable[[Path], object] = lambda path: None,
) -> Iterator[ImageFile | Skip]:
    """The pictures in `paths` (files and folders), in the order given, each path once.

    exclude: shell patterns (`*` also matches `/`); a file or folder is left out if its name or its
    path below the named folder matches. They hold for named files too.
    listed: more paths, from a list that another program wrote.
    leave_out: a folder that is not walked when it is met below another one, by whatever path;
    `left_out` hears of it then. It need not exist. Named itself, it is walked.
    A path that does not exist is a `UsageError`, raised before the first picture is looked for; a
    listed one is a `Skip`.
    """
    paths = list(paths)
    for path in paths:
        require(path)
    return _Scan(include_hidden, exclude, leave_out, left_out).run(chain(paths, listed))


def read_paths(stream: BinaryIO, *, nul: bool) -> Iterator[Path]:
    """The paths that a stream lists, one a line or separated by NUL; empty entries are dropped.

    Names need not be UTF-8. A carriage return at a line's end (a list made on Windows) is dropped
    unless a file of that very name exists.
    """
    for entry in _split_at_nul(stream) if nul else stream:
        name = entry if nul else entry.removesuffix(b"\n")
        if not nul and name.endswith(b"\r") and not os.path.lexists(name):
            name = name[:-1]
        if name:
            yield Path(os.fsdecode(name))


def _split_at_nul(stream: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
    yield rest


def require(path: Path) -> None:
    """Raises `UsageError`, with a near name if there is one, unless the path exists."""
    try:
        known = os.path.lexists(path)
    except ValueError:  # a NUL in the name
        known = False
    if known:
        return
    try:
        neighbours = [neighbour.name for neighbour in path.parent.iterdir()]
    except (OSError, ValueError):
        neighbours = []
    near = difflib.get_close_matches(path.name, neighbours, n=1)
    hint = f"Did you mean {path.parent / near[0]}?" if near else "Check the spelling."
    raise UsageError(f"There is no file or folder {str(path)!r}. {hint}")


class _Scan:
    """One scan: what it leaves out and what it has already seen."""

    def __init__(
        self,
        include_hidden: bool,
        exclude: Sequence[str],
        leave_out: Path | None,
        left_out: Callable[[Path], object],
    ) -> None:
        self.include_hidden = include_hidden
        patterns = "|".join(fnmatch.translate(pattern.rstrip("/")) for pattern in exclude)
        self.excluded = re.compile(patterns).match if exclude else None
        self.left_out = left_out
        self.kept_out = _folder_at(leave_out)
        self.folders: set[_Key] = set()
        self.files: defaultdict[_Key, set[str]] = defaultdict(set)  # names, by folder

    def run(self, paths: Iterable[Path]) -> Iterator[ImageFile | Skip]:
        for path in paths:
            if self.excluded and (self.excluded(path.name) or self.excluded(path.as_posix())):
                continue
            try:
                status = path.stat()
                folder = _key(path.parent.stat())
            except (OSError, ValueError) as error:
                yield Skip(path, _reason(error, path))
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self.walk(path)
            elif path.name not in (names := self.files[folder]):
                names.add(path.name)
                yield _candidate(path, status)

    def walk(self, root: Path) -> Iterator[ImageFile | Skip]:
        """Everything below a folder: its files by name, then its folders by name, links last."""
        waiting = [(root, "")]
        while waiting:
            folder, below_root = waiting.pop()
            try:
                key = _key(folder.stat())
                if key in self.folders:
                    continue
                if key == self.kept_out and below_root:
                    self.left_out(folder)
                    continue
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                yield Skip(folder, f"folder cannot be read: {error.strerror}")
                continue
            self.folders.add(key)
            names, inner = self.files[key], []
            for entry in entries:
                if self.leaves_out(entry.name, below_root):
                    continue
                found = _entry(entry, folder, names)
                if found == "folder":
                    inner.append((entry.is_symlink(), entry.name))
                elif found is not None:
                    yield found
            inner.sort(reverse=True)
            waiting += [(folder / name, f"{below_root}{name}/") for _, name in inner]

    def leaves_out(self, name: str, below_root: str) -> bool:
        if not self.include_hidden and name.startswith("."):
            return True
        return bool(self.excluded and (self.excluded(name) or self.excluded(below_root + name)))


def _entry(
    entry: os.DirEntry[str], folder: Path, names: set[str]
) -> ImageFile | Skip | Literal["folder"] | None:
    """What one name in a folder is; None: nothing of ours, or among the names seen before."""
    name = entry.name
    dot = name.rfind(".")
    pictured = dot >= 0 and name[dot:].lower() in SUFFIXES
    try:
        if entry.is_dir():
            return "folder"
        if pictured:
            if name in names:  # the same file by another path comes once
                return None
            status = entry.stat()
            names.add(name)
            return _candidate(folder / name, status)
        if dot < 0 and entry.is_symlink():
            entry.stat()  # a link that leads nowhere may have led to a folder
    except OSError as error:
        if pictured or dot < 0:
            return Skip(folder / name, _reason(error, folder / name))
    return None


def _candidate(path: Path, status: os.stat_result) -> ImageFile | Skip:
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        return Skip(path, "not an ordinary file")
    return ImageFile(path, status.st_size, status.st_mtime_ns)


def _key(status: os.stat_result) -> _Key:
    return status.st_dev, status.st_ino


def _folder_at(path: Path | None) -> _Key | None:
    """Its key; None if there is none yet."""
    try:
        return None if path is None else _key(path.stat())
    except (OSError, ValueError):
        return None


def _reason(error: OSError | ValueError, path: Path) -> str:
    if isinstance(error, ValueError):
        return "not a possible file name"
    if error.errno == errno.ELOOP:
        return "a link that leads back to itself"
    if isinstance(error, FileNotFoundError):
        return "a link that leads nowhere" if path.is_symlink() else "no such file"
    return f"cannot be read: {error.strerror}"
