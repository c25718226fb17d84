"""What an undo does not take for its own: files that look the same as the ones it moved."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from imgrank.files import disk
from imgrank.files.identity import Seen
from imgrank.files.journal import operations
from imgrank.files.operation import carry_out, finish
from imgrank.files.plan import Plan, Step
from imgrank.files.undoing import take_back


class PowerFailure(BaseException):
    """Ends the process where it stands."""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    return path


def die_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """The given call of a function of `disk`, from 1, does nothing: the power fails."""
    real, calls = getattr(disk, name), iter(range(1, 1000))

    def function(*arguments: object, **more: object) -> object:
        if next(calls) == call:
            raise PowerFailure
        return real(*arguments, **more)

    monkeypatch.setattr(disk, name, function)


def tree(*folders: Path) -> dict[Path, str]:
    return {path: path.read_text() for folder in folders for path in folder.iterdir()}


def shifted(near: Path, far: Path, away: bool = False) -> Plan:
    """A picture comes from another file system to the name of its copy there, which moves on.

    away: to the first file system, so that it comes back with another inode.
    """
    write(near / "z.jpg", "another picture")
    write(near / "x.jpg", "the picture")
    write(far / "001__x.jpg", "the picture")
    steps = [
        Step("move", near / "z.jpg", far / "003__z.jpg", 2),
        Step("move", far / "001__x.jpg", (near if away else far) / "002__x.jpg", 1),
        Step("move", near / "x.jpg", far / "001__x.jpg", 0),
    ]
    return Plan("move", far, [], steps)


@pytest.mark.parametrize("how", ["undo", "finish"])
def test_a_copy_that_was_to_make_room_is_not_the_one_that_was_to_come(
    tmp_path: Path, far: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    near, journals = tmp_path / "near", tmp_path / "operations"
    near.mkdir()
    plan = shifted(near, far)
    before = tree(near, far)
    with monkeypatch.context() as patch, pytest.raises(PowerFailure):
        die_at(patch, "move", 2)
        carry_out(plan, journals, "x")
    operation = operations(journals)[-1]
    if how == "finish":
        outcome = finish(operation)
        assert (outcome.failed, outcome.stopped) == ([], None)
        assert sorted(path.name for path in far.iterdir()) == [
            *("001__x.jpg", "002__x.jpg", "003__z.jpg")
        ]
    else:
        assert take_back(operation).refused == []
        assert tree(near, far) == before


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("lost", [("undone",), ("undone", "done", "end")])
def test_an_undo_that_was_cut_off_leaves_the_copy_when_it_goes_on(
    tmp_path: Path, far: Path, monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...], away: bool
) -> None:
    near, journals = tmp_path / "near", tmp_path / "operations"
    near.mkdir()
    plan = shifted(near, far, away)
    before = tree(near, far)
    carry_out(plan, journals, "x")
    operation = operations(journals)[-1]
    with monkeypatch.context() as patch, pytest.raises(PowerFailure):
        die_at(patch, "move", 3)  # the first two are back
        take_back(operation)
    lines = operation.path.read_bytes().splitlines(keepends=True)
    starts = tuple(f'{{"{kind}"'.encode() for kind in lost)
    operation.path.write_bytes(b"".join(line for line in lines if not line.startswith(starts)))
    assert take_back(operation).refused == []
    assert tree(near, far) == before


def test_an_empty_companion_that_was_to_make_room_is_no_claimed_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system where names are claimed by empty files."""
    monkeypatch.setattr(disk, "_rename_exclusive", lambda source, target: errno.EINVAL)
    src, journals = tmp_path / "src", tmp_path / "operations"
    src.mkdir()
    for name, text in (("a.xmp", "settings"), ("b.xmp", ""), ("c.xmp", "others")):
        write(src / name, text)
    before = tree(src)
    names = (("c.xmp", "d.xmp"), ("b.xmp", "c.xmp"), ("a.xmp", "b.xmp"))
    steps = [Step("move", src / a, src / b, i) for i, (a, b) in enumerate(names)]
    with monkeypatch.context() as patch, pytest.raises(PowerFailure):
        die_at(patch, "move", 2)
        carry_out(Plan("rename", None, [], steps), journals, "x")
    assert take_back(operations(journals)[-1]).refused == []
    assert tree(src) == before


def test_a_file_is_not_compared_with_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The undo of 20,000 renames took minutes."""
    src, journals = tmp_path / "src", tmp_path / "operations"
    src.mkdir()
    steps = [
        Step("move", write(src / f"{i}.jpg", "x"), src / f"00{i}__{i}.jpg", i) for i in range(100)
    ]
    carry_out(Plan("rename", None, [], steps), journals, "x")
    compared: list[None] = []
    real = Seen.__eq__

    def equal(self: Seen, other: object) -> bool:
        compared.append(None)
        return real(self, other)

    monkeypatch.setattr(Seen, "__eq__", equal)
    assert len(take_back(operations(journals)[0]).undone) == 100
    assert len(compared) <= 1000
