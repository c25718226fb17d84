"""The functions that change files: all or nothing, and never over anything."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from imgrank.files import disk

Claims = list[None]


@pytest.fixture(params=["rename that overwrites nothing", "claims"])
def claims(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Claims:
    """Both ways to give a name; the calls of `claim`."""
    if request.param == "claims":
        monkeypatch.setattr(disk, "_rename_exclusive", lambda source, target: errno.EINVAL)
    return []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"photo" * 1000)
    path.chmod(0o640)
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    return path


def facts(path: Path) -> tuple[bytes, int, int]:
    found = path.lstat()
    return path.read_bytes(), found.st_mtime_ns, found.st_mode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_keeps_content_time_and_mode(photo: Path, tmp_path: Path, claims: Claims) -> None:
    target = tmp_path / "b.jpg"
    disk.copy(photo, target, tmp_path / ".part", lambda: claims.append(None))
    assert facts(target) == facts(photo)
    assert target.stat().st_ino != photo.stat().st_ino
    assert names(tmp_path) == ["a.jpg", "b.jpg"]


def test_a_copy_keeps_extended_attributes(photo: Path, tmp_path: Path) -> None:
    try:
        os.setxattr(photo, "user.xdg.tags", b"holiday")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    disk.copy(photo, tmp_path / "b.jpg", tmp_path / ".part")
    assert os.getxattr(tmp_path / "b.jpg", "user.xdg.tags") == b"holiday"


def test_a_copy_of_a_link_is_of_what_it_leads_to(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photo.name)
    disk.copy(tmp_path / "link", tmp_path / "b.jpg", tmp_path / ".part")
    assert not (tmp_path / "b.jpg").is_symlink()
    assert facts(tmp_path / "b.jpg") == facts(photo)


def test_reading_and_writing_where_the_kernel_does_not_copy(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    disk.copy(photo, tmp_path / "b.jpg", tmp_path / ".part")
    assert facts(tmp_path / "b.jpg") == facts(photo)


@pytest.mark.parametrize("what", ["copy", "move", "move_across", "symlink", "hardlink"])
def test_nothing_is_overwritten(photo: Path, tmp_path: Path, claims: Claims, what: str) -> None:
    target, part = tmp_path / "b.jpg", tmp_path / ".part"
    target.write_bytes(b"another one")
    calls = {
        "copy": lambda: disk.copy(photo, target, part),
        "move": lambda: disk.move(photo, target),
        "move_across": lambda: disk.move_across(photo, target, part),
        "symlink": lambda: disk.symlink(str(photo), target),
        "hardlink": lambda: disk.hardlink(photo, target),
    }
    with pytest.raises(FileExistsError):
        calls[what]()
    assert target.read_bytes() == b"another one"
    assert photo.read_bytes() == b"photo" * 1000
    assert names(tmp_path) == ["a.jpg", "b.jpg"]


def test_a_move_is_the_same_file(photo: Path, tmp_path: Path, claims: Claims) -> None:
    before = facts(photo), photo.stat().st_ino
    disk.move(photo, tmp_path / "b.jpg", lambda: claims.append(None))
    assert (facts(tmp_path / "b.jpg"), (tmp_path / "b.jpg").stat().st_ino) == before
    assert names(tmp_path) == ["b.jpg"]


def test_a_claim_is_announced_before_it_is_made(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_rename_exclusive", lambda source, target: errno.ENOSYS)
    seen: list[list[str]] = []
    disk.move(photo, tmp_path / "b.jpg", lambda: seen.append(names(tmp_path)))
    assert seen == [["a.jpg"]]


def test_a_claim_goes_if_the_rename_fails(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_rename_exclusive", lambda source, target: errno.ENOSYS)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        disk.move(photo, tmp_path / "b.jpg")
    assert names(tmp_path) == ["a.jpg"]


def test_what_reads_back_wrong_is_not_moved(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(path: Path) -> bytes:
        return path.name.encode()

    monkeypatch.setattr(disk, "digest_file", damage)
    before = facts(photo)
    with pytest.raises(OSError, match="does not read back"):
        disk.move_across(photo, tmp_path / "b.jpg", tmp_path / ".part")
    assert facts(photo) == before
    assert names(tmp_path) == ["a.jpg"]


def test_an_original_that_cannot_go_takes_its_copy_along(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self == photo:
            raise PermissionError(errno.EPERM, "sticky")
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(PermissionError):
        disk.move_across(photo, tmp_path / "b.jpg", tmp_path / ".part")
    assert names(tmp_path) == ["a.jpg"]


def test_a_file_that_changes_while_it_is_copied(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk._transfer

    def transfer(outof: int, into: int, size: int) -> None:
        real(outof, into, size)
        photo.write_bytes(b"new")

    monkeypatch.setattr(disk, "_transfer", transfer)
    with pytest.raises(OSError, match="changed while it was copied"):
        disk.copy(photo, tmp_path / "b.jpg", tmp_path / ".part")
    assert names(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize("how", ["written", "saved in its place"])
def test_an_original_that_changes_after_it_was_compared_stays(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    real = disk.sync_folder

    def sync_folder(path: Path) -> None:
        if how == "written":
            photo.write_bytes(b"an edit")
        else:
            (tmp_path / "new").write_bytes(b"an edit")
            (tmp_path / "new").replace(photo)
        real(path)

    monkeypatch.setattr(disk, "sync_folder", sync_folder)
    with pytest.raises(OSError, match="it changed while it was moved"):
        disk.move_across(photo, tmp_path / "b.jpg", tmp_path / ".part")
    assert photo.read_bytes() == b"an edit"
    assert names(tmp_path) == ["a.jpg"]


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="has no extended attributes")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.E2BIG])
def test_an_attribute_that_has_no_room_is_done_without_by_a_copy_only(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "listxattr", lambda _: ["user.large"])
    monkeypatch.setattr(os, "getxattr", lambda *_: b"x" * 60_000)
    monkeypatch.setattr(os, "setxattr", refuse)
    disk.copy(photo, tmp_path / "b.jpg", tmp_path / ".part")
    assert facts(tmp_path / "b.jpg") == facts(photo)
    with pytest.raises(OSError, match="an attribute of it has no room there"):
        disk.move_across(photo, tmp_path / "c.jpg", tmp_path / ".part")
    assert names(tmp_path) == ["a.jpg", "b.jpg"]  # it stays, with its attributes


def test_a_long_name_has_a_short_part(tmp_path: Path) -> None:
    short = disk.part_of(tmp_path / "a.jpg", "20260101-000000-abcd", 7)
    assert short.name == ".a.jpg.20260101-000000-abcd.part"
    long = disk.part_of(tmp_path / ("x" * 251 + ".jpg"), "20260101-000000-abcd", 7)
    assert long.name == ".7.20260101-000000-abcd.part"


def test_folders(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert [disk.make_folder(folder), disk.make_folder(folder)] == [True, False]
    (folder / "a").touch()
    assert disk.remove_folder(folder) is False
    (folder / "a").unlink()
    assert [disk.remove_folder(folder), disk.remove_folder(folder)] == [True, False]
    folder.touch()
    with pytest.raises(FileExistsError):
        disk.make_folder(folder)
