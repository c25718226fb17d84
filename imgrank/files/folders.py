"""The folders of a plan as they are now: each listed once, known by what it is, not by its path."""

from __future__ import annotations

import os
from pathlib import Path

from imgrank.errors import UsageError
from imgrank.files.companions import Family, families, split
from imgrank.files.naming import clash_key

__all__ = ["Folder", "Folders", "absolute"]


def absolute(path: Path) -> Path:
    """Without resolving links, except where a ".." would be read wrongly otherwise."""
    if ".." in path.parts:
        if path.name == "..":
            return Path(os.path.realpath(path))
        return Path(os.path.realpath(path.parent)) / path.name
    return Path.cwd() / path


class Folder:
    """One folder, there or to be made.

    path: absolute.   made: it is there already.
    names: all that is in it, by `clash_key`.   stems: its files, by the key of their stem.
    listed: whether its names are known; some folders only let in who knows the name.
    """

    def __init__(self, path: Path, *, made: bool) -> None:
        self.path = path
        self.made = made
        self.names: dict[str, list[str]] = {}
        self.stems: dict[str, list[str]] = {}
        self.children: dict[str, tuple[Folder, str] | None] = {}
        self.listed = True
        self._files: set[str] = set()
        self._families: dict[str, Family] | None = None
        if made:
            self._list()

    def _list(self) -> None:
        try:
            listing = os.scandir(self.path)
        except PermissionError:
            self.listed = False
            return
        with listing:
            for entry in listing:
                try:
                    file = entry.is_file()
                except OSError:
                    file = False
                self._add(entry.name, file)

    def _add(self, name: str, file: bool) -> None:
        self.names.setdefault(clash_key(name), []).append(name)
        if file:
            self._files.add(name)
            self.stems.setdefault(clash_key(split(name)[0]), []).append(name)

    def family(self, name: str) -> Family | None:
        """The files that belong together with this one; None if it is not there."""
        if not self.listed and name not in self._files and (self.path / name).is_file():
            self._add(name, True)
            self._families = None
        if self._families is None:
            self._families = families(self._files)
        return self._families.get(name)


class Folders:
    """All folders of a plan, each once by whatever path it is named."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[int, int], Folder] = {}
        self._by_path: dict[str, Folder | None] = {}

    def source(self, path: str) -> Folder | None:
        """That a picture lies in; None if it is not there any more."""
        if path not in self._by_path:
            try:
                self._by_path[path] = self._at(absolute(Path(path)))
            except OSError:
                self._by_path[path] = None
        return self._by_path[path]

    def target(self, path: Path) -> Folder:
        """That everything goes below. Raises UsageError unless it is a folder or can become one."""
        full = absolute(path)
        try:
            folder = self._at(full)
            if folder.listed:
                return folder
            raise UsageError(f"{path} cannot be listed: no permission.")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UsageError(f"{path} cannot be used as a folder: {error.strerror}.") from error
        above = full
        while not os.path.lexists(above):
            above = above.parent
        if above.is_dir():
            return Folder(full, made=False)
        if above.is_symlink():
            raise UsageError(f"{above} is a link that leads nowhere; name another folder.")
        raise UsageError(f"{above} is a file, not a folder; name another one.")

    def child(self, parent: Folder, name: str) -> tuple[Folder, str] | None:
        """A folder within a target, there or to be made, and its name, which may be written in
        another way there; None if a file has it."""
        key = clash_key(name)
        if key not in parent.children:
            parent.children[key] = self._child(parent, name, parent.names.get(key, []))
        return parent.children[key]

    def _child(self, parent: Folder, name: str, there: list[str]) -> tuple[Folder, str] | None:
        if not there:
            return Folder(parent.path / name, made=False), name
        if name not in there:
            name = min(there)
        try:
            return self._at(parent.path / name), name
        except OSError:
            return None

    def _at(self, path: Path) -> Folder:
        status = path.stat()
        key = status.st_dev, status.st_ino
        if key not in self._by_key:
            self._by_key[key] = Folder(path, made=True)
        return self._by_key[key]
