"""Made-up trees of photographs with everything that real folders hold, and what they look like.

    case = a tree + what the user wishes for it     (`cases()`, a hypothesis strategy)
    case.grow(near, far) ─► Grown                   the files are on disk
    look(folder) ─► {path: Seen}                    all that is to be as it was after an undo

Contents need not be pictures: filing never opens them. Nearly every file has bytes of its own, so
that one that was lost, doubled or swapped shows.
"""

from __future__ import annotations

import contextlib
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import strategies as st

from imgrank.files.plan import Entry, Verb, Wish
from imgrank.images.formats import SUFFIXES

FOLDERS = ("src", "src/sub", "src/sub/deep", "src/\u00e4", "other", "out", "src/out", "out/good")
"""Below the root; `out` and those below it are targets, with files in them that clash."""

STEMS = (
    "a",
    "A",
    "b",
    "a-2",
    "a-3",
    "001__a",
    "0001__b",
    "002__002__a",
    "IMG 1",
    "-rf",
    ".dot",
    "line\nbreak",
    os.fsdecode(b"\xff\xfe"),
    unicodedata.normalize("NFC", "\u00e9t\u00e9"),
    unicodedata.normalize("NFD", "\u00e9t\u00e9"),
    "stra\u00dfe",
    "STRASSE",
    "a.b",
    "x" * 220,
    "y" * 246,
    "\u00e9" * 123,
    "z" * 250,
)
ENDS = (
    *(".jpg",) * 7,
    ".JPG",
    ".jpeg",
    ".png",
    ".NEF",
    ".nef",
    ".xmp",
    ".XMP",
    ".jpg.xmp",
    ".NEF.xmp",
    ".jpg.json",
    ".aae",
    ".pp3",
    ".mov",
    ".txt",
)
MODES = (0o644, 0o600, 0o444, 0o755)
TIMES = (1_000_000_000_123_456_789, 1_700_000_000_000_000_001, 1_750_000_000_999_999_999)
TARGETS = ("new", "new/deep", "out", "out", "src/out", "src", "other", "linked/new")
GROUPS = ("good", "Good", "bad", "1990s")


@dataclass(frozen=True)
class Node:
    """A file of a tree. Paths are relative to the root.

    kind: own (bytes of its own), same (bytes that others have too), empty, large (200 kB), link
    (symbolic, with the text `to`; a text that starts with `{root}` is absolute), twin (hard link
    to `to`).
    """

    path: str
    kind: str = "own"
    to: str = ""
    mode: int = 0o644
    time: int = TIMES[0]

    def content(self) -> bytes:
        match self.kind:
            case "same":
                return b"the same in several files"
            case "empty":
                return b""
            case "large":
                return os.fsencode(self.path) + b"\0" * 200_000
        return b"content of " + os.fsencode(self.path)


@dataclass(frozen=True)
class Case:
    """A tree and a wish.

    rows: paths of the ranked pictures, best first; what --top left out is not there.
    groups: of each row, or none.   target: below the root, or on the other file system (`far`).
    relative: rows and target are relative to the root, which is the working directory.
    by_link: rows of `src/sub` are reached through a symbolic link to it, `linked`.
    """

    nodes: tuple[Node, ...]
    rows: tuple[str, ...]
    verb: Verb
    target: str | None = None
    far: bool = False
    hard: bool = False
    numbered: bool = False
    groups: tuple[str, ...] = ()
    per_folder: bool = False
    relative: bool = False
    by_link: bool = False

    def grow(self, near: Path, far: Path) -> Grown:
        """The tree below `near`; `far` is the root on the other file system. Both are made."""
        for folder in (near, far, *(near / name for name in FOLDERS[:5])):
            folder.mkdir(parents=True, exist_ok=True)
        for node in self.nodes:
            plant(node, near)
        if self.far and self.target:
            clashing = Node(f"{self.target}/a.jpg")
            plant(replace(clashing, kind="same"), far)
        (near / "linked").symlink_to("src/sub")  # linked/.. is not where its text says
        (near / "other").chmod(0o750)
        return Grown(self, near, far)


@dataclass(frozen=True)
class Grown:
    """A case on disk."""

    case: Case
    near: Path
    far: Path

    def entries(self) -> list[Entry]:
        base = Path() if self.case.relative else self.near
        entries = []
        for rank, row in enumerate(self.case.rows, start=1):
            if self.case.by_link and row.startswith("src/sub/"):
                row = f"linked/{row.removeprefix('src/sub/')}"
            path = base / row
            group = self.case.groups[rank - 1] if self.case.groups else None
            entries.append(Entry(path, rank, group, path.parent if self.case.per_folder else None))
        return entries

    def wish(self) -> Wish:
        case = self.case
        target = None
        if case.target is not None:
            base = self.far if case.far else Path() if case.relative else self.near
            target = base / case.target
        return Wish(case.verb, target, case.hard, case.numbered or case.verb == "rename")

    def look(self) -> dict[str, Seen]:
        """Both file systems; paths start with `near/` and `far/`."""
        return {**look(self.near, "near"), **look(self.far, "far")}


@dataclass(frozen=True)
class Seen:
    """What is at a path: for folders only that and the mode.

    twins: all paths of this file, if it has several (hard links).   text: of a symbolic link.
    """

    kind: str
    mode: int = 0
    time: int = 0
    content: bytes = b""
    text: str = ""
    twins: tuple[str, ...] = ()
    attributes: tuple[tuple[str, bytes], ...] = ()

    def __repr__(self) -> str:
        shown = self.content if len(self.content) < 60 else f"{len(self.content)} bytes"
        return f"<{self.kind} {self.mode:o} {self.time} {shown!r} {self.text!r} {self.twins}>"


def look(root: Path, name: str) -> dict[str, Seen]:
    """Everything below a folder, by path from it with `name` before."""
    seen = {}
    inodes: dict[tuple[int, int], list[str]] = {}
    for path in walk(root):
        status = path.lstat()
        here = f"{name}/{path.relative_to(root)}"
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            seen[here] = Seen("link", text=str(path.readlink()))
        elif stat.S_ISDIR(status.st_mode):
            seen[here] = Seen("folder", mode)
        else:
            content = path.read_bytes()
            inodes.setdefault((status.st_dev, status.st_ino), []).append(here)
            marks = attributes(path)
            seen[here] = Seen("file", mode, status.st_mtime_ns, content, attributes=marks)
    for paths in inodes.values():
        if len(paths) > 1:
            for here in paths:
                seen[here] = replace(seen[here], twins=tuple(sorted(paths)))
    return seen


def walk(root: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))


def contents(seen: dict[str, Seen]) -> Counter[bytes]:
    """How often each content is there, among the regular files."""
    return Counter(one.content for one in seen.values() if one.kind == "file")


def links(seen: dict[str, Seen]) -> int:
    return sum(one.kind == "link" for one in seen.values())


def attributes(path: Path) -> tuple[tuple[str, bytes], ...]:
    """Extended attributes of the user, where the system has them."""
    if not hasattr(os, "listxattr"):
        return ()
    try:
        names = [name for name in os.listxattr(path) if name.startswith("user.")]
        return tuple((name, os.getxattr(path, name)) for name in sorted(names))
    except OSError:
        return ()


def plant(node: Node, root: Path) -> None:
    """Makes one file. Does nothing where its name is taken: on some systems A and a are one."""
    path = root / node.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        return
    if node.kind == "link":
        path.symlink_to(node.to.replace("{root}", str(root)))
    elif node.kind == "twin":
        if (root / node.to).is_file():
            os.link(root / node.to, path)
    else:
        path.write_bytes(node.content())
        if hasattr(os, "setxattr") and node.mode == 0o600:
            with contextlib.suppress(OSError):
                os.setxattr(path, "user.imgrank.test", b"kept")
        path.chmod(node.mode)
        os.utime(path, ns=(node.time, node.time))


def is_picture(path: str) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


@st.composite
def trees(draw: st.DrawFn) -> tuple[Node, ...]:
    """Two to nine files below FOLDERS; each path once."""
    some = st.lists(st.sampled_from(STEMS), min_size=1, max_size=3, unique=True)
    stems = draw(some | some | st.just(["001__a", "002__a", "003__a"]))  # ranks that change places
    folders = draw(st.lists(st.sampled_from(FOLDERS), min_size=1, max_size=3, unique=True))
    places = st.tuples(st.sampled_from(folders), st.sampled_from(stems), st.sampled_from(ENDS))
    drawn = draw(st.lists(places, min_size=2, max_size=9, unique=True))
    paths = [f"{folder}/{stem}{end}" for folder, stem, end in drawn]
    paths = [path for path in paths if len(os.fsencode(Path(path).name)) <= 255]
    nodes: list[Node] = []
    for path in paths:
        kind = draw(
            st.sampled_from(("own",) * 5 + ("same", "same", "empty", "large", "link", "twin"))
        )
        to = ""
        if kind in ("link", "twin"):
            files = [node.path for node in nodes if node.kind not in ("link", "twin")]
            to = draw(st.sampled_from(files)) if files else "src/nowhere.jpg"
        if kind == "link":
            relative = os.path.relpath(to, Path(path).parent)
            to = draw(
                st.sampled_from((relative, relative, "{root}/" + to, "gone.jpg", os.curdir, to))
            )
        mode, time = draw(st.sampled_from(MODES)), draw(st.sampled_from(TIMES))
        if kind == "same":  # nothing but the inode tells them apart
            mode, time = MODES[0], TIMES[0]
        nodes.append(Node(path, kind, to, mode, time))
    return tuple(nodes)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A tree, some of its pictures in some order, and a wish for them."""
    nodes = draw(trees())
    verb: Verb = draw(st.sampled_from(("copy", "link", "move", "move", "rename", "rename")))
    target, case_far = None, False
    if verb != "rename":
        target = draw(st.sampled_from(TARGETS))
        case_far = draw(st.booleans())
    pictures = [node.path for node in nodes if is_picture(node.path) and ranked(node, nodes)]
    rows = draw(st.permutations(pictures))
    rows = rows[: draw(st.integers(1, 9))]
    grouped = target is not None and draw(st.integers(0, 3)) == 0
    groups = st.lists(st.sampled_from(GROUPS), min_size=len(rows), max_size=len(rows))
    return Case(
        nodes,
        tuple(rows),
        verb,
        target,
        case_far,
        hard=verb == "link" and draw(st.booleans()),
        numbered=draw(st.booleans()),
        groups=tuple(draw(groups)) if grouped else (),
        per_folder=not grouped and draw(st.integers(0, 3)) == 0,
        relative=draw(st.integers(0, 3)) == 0,
        by_link=draw(st.integers(0, 7)) == 0,
    )


def ranked(node: Node, nodes: tuple[Node, ...]) -> bool:
    """Whether a scan would take it: a link counts if it leads to a file."""
    if node.kind == "twin":
        return any(other.path == node.to and other.kind != "twin" for other in nodes)
    if node.kind != "link":
        return True
    text = node.to.removeprefix("{root}/")
    if text == node.to:
        text = os.path.normpath(f"{Path(node.path).parent}/{node.to}")
    return any(other.path == text and other.kind not in ("link", "twin") for other in nodes)
