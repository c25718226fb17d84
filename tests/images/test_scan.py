"""Which files a scan finds, in which order, and what it reports instead."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imgrank.errors import UsageError
from imgrank.images import ImageFile, Skip
from imgrank.images.scan import read_paths, scan


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


def split(found: Iterator[ImageFile | Skip], root: Path) -> tuple[list[str], dict[str, str]]:
    """Relative paths of the pictures in order, and reasons by relative path of the skips."""
    pictures, skips = [], {}
    for item in found:
        name = item.path.relative_to(root).as_posix()
        if isinstance(item, Skip):
            skips[name] = item.reason
        else:
            pictures.append(name)
    return pictures, skips


def test_a_folder_is_walked_in_order_and_only_pictures_count(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.PNG", "z/c.heic", "m/n/d.nef", "m/e.webp", "notes.txt", "none")
    assert split(scan([tmp_path]), tmp_path) == (
        ["a.PNG", "b.jpg", "m/e.webp", "m/n/d.nef", "z/c.heic"],
        {},
    )


def test_a_file_carries_its_size_and_time(tmp_path: Path) -> None:
    make(tmp_path, "abc.jpg")
    os.utime(tmp_path / "abc.jpg", ns=(1, 1_234_567_890_123_456_789))
    (found,) = scan([tmp_path])
    assert found == ImageFile(tmp_path / "abc.jpg", 7, 1_234_567_890_123_456_789)


def test_hidden_files_and_folders_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", ".b.jpg", "._a.jpg", ".trash/c.jpg")
    assert split(scan([tmp_path]), tmp_path)[0] == ["a.jpg"]
    everything = split(scan([tmp_path], include_hidden=True), tmp_path)[0]
    assert everything == ["._a.jpg", ".b.jpg", "a.jpg", ".trash/c.jpg"]


def test_a_named_file_is_tried_whatever_its_name(tmp_path: Path) -> None:
    make(tmp_path, ".hidden", "picture")
    assert split(scan([tmp_path / "picture", tmp_path / ".hidden"]), tmp_path) == (
        ["picture", ".hidden"],
        {},
    )


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["*.png"], ["a.jpg", "raw/c.jpg", "raw/deep/d.jpg"]),
        (["raw"], ["a.jpg", "b.png"]),
        (["raw/"], ["a.jpg", "b.png"]),
        (["raw/*.jpg"], ["a.jpg", "b.png"]),
        (["raw/deep/d.jpg", "b*"], ["a.jpg", "raw/c.jpg"]),
        (["[ab].*"], ["raw/c.jpg", "raw/deep/d.jpg"]),
        (["A.jpg"], ["a.jpg", "b.png", "raw/c.jpg", "raw/deep/d.jpg"]),
    ],
)
def test_exclude(tmp_path: Path, patterns: list[str], left: list[str]) -> None:
    make(tmp_path, "a.jpg", "b.png", "raw/c.jpg", "raw/deep/d.jpg")
    assert split(scan([tmp_path], exclude=patterns), tmp_path)[0] == left


def test_exclude_holds_for_named_files_too(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.png")
    found = scan([tmp_path / "a.jpg", tmp_path / "b.png"], exclude=["*.png"])
    assert split(found, tmp_path)[0] == ["a.jpg"]


def test_the_same_file_comes_once(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "sub/b.jpg")
    paths = [tmp_path / "sub/b.jpg", tmp_path, tmp_path / "sub/../a.jpg", tmp_path / "sub"]
    assert split(scan(paths), tmp_path)[0] == ["sub/b.jpg", "a.jpg"]


def test_two_names_of_one_content_are_two_files(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    os.link(tmp_path / "a.jpg", tmp_path / "hard.jpg")
    (tmp_path / "soft.jpg").symlink_to("a.jpg")
    assert split(scan([tmp_path]), tmp_path)[0] == ["a.jpg", "hard.jpg", "soft.jpg"]


def test_link_loops_are_survived_and_linked_folders_walked_once(tmp_path: Path) -> None:
    make(tmp_path, "real/a.jpg", "outer.jpg")
    (tmp_path / "real/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "another").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    assert split(scan([tmp_path]), tmp_path) == (
        ["outer.jpg", "real/a.jpg"],
        {"self.jpg": "a link that leads back to itself"},
    )


def test_links_that_lead_nowhere_are_reported(tmp_path: Path) -> None:
    for name in ("gone.jpg", "album", "notes.txt"):
        (tmp_path / name).symlink_to(tmp_path / "nothing")
    expected = "a link that leads nowhere"
    assert split(scan([tmp_path]), tmp_path) == ([], {"album": expected, "gone.jpg": expected})
    assert split(scan([tmp_path / "notes.txt"]), tmp_path) == ([], {"notes.txt": expected})


def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert split(scan([tmp_path]), tmp_path)[1] == {"pipe.jpg": "not an ordinary file"}
    assert list(scan([Path(os.devnull)])) == [Skip(Path(os.devnull), "not an ordinary file")]


def test_an_unreadable_folder_is_reported_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.jpg", "locked/b.jpg", "open/c.jpg")
    real: Callable[..., Any] = os.scandir

    def scandir(path: Any) -> Any:  # root may read everything, so permissions cannot be used
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert split(scan([tmp_path]), tmp_path) == (
        ["a.jpg", "open/c.jpg"],
        {"locked": "folder cannot be read: Permission denied"},
    )


def test_a_missing_path_is_an_error_before_anything_is_scanned(tmp_path: Path) -> None:
    make(tmp_path, "holiday/a.jpg")
    with pytest.raises(UsageError, match=r"holidy'\. Did you mean .*holiday\?"):
        scan([tmp_path / "holiday", tmp_path / "holidy"])
    with pytest.raises(UsageError, match="Check the spelling"):
        scan([tmp_path / "no/such/thing.jpg"])
    with pytest.raises(UsageError, match="There is no file or folder"):
        scan([Path("a\0b")])


def test_a_missing_path_of_a_list_is_a_skip(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    paths = iter([tmp_path / "gone.jpg", tmp_path / "a.jpg", Path("a\0b")])
    assert list(scan([], listed=paths)) == [
        Skip(tmp_path / "gone.jpg", "no such file"),
        ImageFile(tmp_path / "a.jpg", 5, (tmp_path / "a.jpg").stat().st_mtime_ns),
        Skip(Path("a\0b"), "not a possible file name"),
    ]


def test_names_with_newlines_and_foreign_bytes(tmp_path: Path) -> None:
    names = [b"line\nbreak.jpg", b"caf\xe9.jpg", "Straße – 写真.jpg".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    found = [os.fsencode(item.path.name) for item in scan([tmp_path])]
    assert sorted(found) == sorted(names)
    listed = b"\0".join(os.fsencode(tmp_path / os.fsdecode(name)) for name in names)
    again = scan([], listed=read_paths(io.BytesIO(listed), nul=True))
    assert [os.fsencode(item.path.name) for item in again] == names


def test_lines_of_a_list() -> None:
    stream = io.BytesIO(b"a.jpg\n\nb c.jpg\r\nlast.jpg")
    assert list(read_paths(stream, nul=False)) == [Path("a.jpg"), Path("b c.jpg"), Path("last.jpg")]


def test_a_name_that_really_ends_with_a_carriage_return(tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg\r"
    path.touch()
    assert list(read_paths(io.BytesIO(os.fsencode(path) + b"\n"), nul=False)) == [path]


def test_a_list_longer_than_one_read() -> None:
    names = [f"{'x' * (i % 90)}{i}.jpg" for i in range(3000)]
    stream = io.BytesIO("\0".join(names).encode() + b"\0")
    assert list(read_paths(stream, nul=True)) == [Path(name) for name in names]


# ---- the folder that pictures go to --------------------------------------------------------------


def test_a_folder_that_is_left_out_is_not_walked_by_any_path(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "to/b.jpg", "to/deep/c.jpg", "other/d.jpg")
    (tmp_path / "other/linked").symlink_to("../to")
    heard: list[Path] = []
    found = scan([tmp_path], leave_out=tmp_path / "other/../to", left_out=heard.append)
    assert split(found, tmp_path) == (["a.jpg", "other/d.jpg"], {})
    assert heard == [tmp_path / "other/linked", tmp_path / "to"]


def test_a_folder_that_is_left_out_is_walked_if_it_is_named(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "to/b.jpg", "to/in/c.jpg")
    to = tmp_path / "to"
    assert split(scan([to], leave_out=to), tmp_path)[0] == ["to/b.jpg", "to/in/c.jpg"]
    assert split(scan([to / "in"], leave_out=to), tmp_path)[0] == ["to/in/c.jpg"]
    assert split(scan([tmp_path, to], leave_out=to), tmp_path)[0] == [
        "a.jpg", "to/b.jpg", "to/in/c.jpg"
    ]  # fmt: skip
    assert split(scan([tmp_path], listed=[to / "b.jpg"], leave_out=to), tmp_path)[0] == [
        "a.jpg", "to/b.jpg"
    ]  # fmt: skip


def test_a_folder_that_is_left_out_need_not_be_there(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert split(scan([tmp_path], leave_out=tmp_path / "to"), tmp_path)[0] == ["a.jpg"]
