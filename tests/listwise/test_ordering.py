"""Windows of pictures through a scripted model: the order, what is asked again, what is kept."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tiny_vlm import pictures
from window_models import Fake, Script, written

from imgrank.errors import NothingReadable, UsageError
from imgrank.images import ImageFile
from imgrank.instruction import parse
from imgrank.listwise.ordering import score_set
from imgrank.pipeline import Table, score_files
from imgrank.rankers.base import Answer, Job
from imgrank.rankers.measured import HEADER
from imgrank.store.store import Store

TWENTY = [5 * n for n in range(20)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite3") as store:
        yield store


def job(ranker: Any, prompt: str = "how old?") -> Job:
    answer = Answer("rarl", "fake", "1", prompt, "years", (0.0, 100.0))
    return Job(parse("by age"), ranker, answer)


def files(folder: Path) -> list[ImageFile]:
    return [ImageFile.of(path) for path in sorted(folder.rglob("*.png"))]


def scores(table: Table) -> dict[str, float | None]:
    cells = zip(table.paths, table.scores, strict=True)
    return {path.name: cell and round(cell.value, 6) for path, (cell,) in cells}


def order(table: Table) -> list[str]:
    found = scores(table)
    return sorted(found, key=lambda name: found[name] or -math.inf)


def off(values: list[int]) -> str:
    """Right within a window, but all of it is 0 to 36 too much: more than pictures differ by."""
    return written([value / 2 + offset(values) for value in values])


def offset(values: list[int]) -> float:
    return 6 * (sum(values) // 5 % 7)


def leaving_out(*values: int, within: int = 8) -> Script:
    """Right, but for pictures of these values in windows of `within` or more, which it skips."""

    def script(shown: list[int]) -> str:
        lacks = values if len(shown) >= within else ()
        return written({n: v for n, v in enumerate(shown, 1) if v not in lacks})

    return script


def test_up_to_eight_pictures_are_one_window(tmp_path: Path, store: Store) -> None:
    pictures(tmp_path / "photos", [40, 90, 3, 61, 7, 12, 77, 50])
    fake = Fake()
    table = score_set(files(tmp_path / "photos"), job(fake), store)
    wanted = [40, 90, 3, 61, 7, 12, 77, 50]
    assert scores(table) == {f"{n:03}.png": value for n, value in enumerate(wanted)}
    assert [sorted(window) for window in fake.seen] == [sorted(wanted)]
    assert (table.computed, table.known, table.skips) == (8, 0, [])


def test_two_rounds_undo_what_each_answer_gives_too_much(tmp_path: Path, store: Store) -> None:
    names = [path.name for path in pictures(tmp_path / "photos", TWENTY)]
    fake = Fake(off)
    table = score_set(files(tmp_path / "photos"), job(fake), store)
    assert order(table) == names
    found = scores(table)
    steps = [(found[b] or 0) - (found[a] or 0) for a, b in pairwise(names)]
    assert steps == pytest.approx([2.5] * 19, abs=1e-4)
    assert len(fake.seen) == 3 + 3  # two rounds
    assert [len(window) for window in fake.seen] == [7, 7, 6, 8, 8, 8]
    # The first round alone has another order.
    single = {v: v / 2 + offset(w) for w in fake.seen[:3] for v in w}
    assert sorted(single, key=lambda value: single[value]) != TWENTY


def test_left_out_pictures_are_asked_about_again_together_then_alone(
    tmp_path: Path, store: Store
) -> None:
    pictures(tmp_path / "photos", [40, 90, 3, 61, 7, 12])
    said: list[str] = []

    def script(shown: list[int]) -> str:
        lacks = {6: {3, 7, 90}, 3: {7, 90}, 1: {90}}[len(shown)]
        return written({n: v for n, v in enumerate(shown, 1) if v not in lacks})

    fake = Fake(script)
    table = score_set(files(tmp_path / "photos"), job(fake), store, notify=said.append)
    assert sorted(fake.seen[1]) == [3, 7, 90]
    assert sorted(fake.seen[2:]) == [[7], [90]]
    found = scores(table)
    assert found.pop("001.png") is None
    assert found == {"000.png": 40, "002.png": 3, "003.png": 61, "004.png": 7, "005.png": 12}
    assert said == ["  3 of 6 pictures had no value in the first answers; asked again"]


def test_an_answer_without_any_value_is_asked_again_in_halves(tmp_path: Path, store: Store) -> None:
    pictures(tmp_path / "photos", [40, 90, 3, 61, 7])
    fake = Fake(lambda shown: "no idea" if len(shown) > 3 else written(shown))
    table = score_set(files(tmp_path / "photos"), job(fake), store)
    assert [len(window) for window in fake.seen] == [5, 3, 2]
    assert order(table) == ["002.png", "004.png", "000.png", "003.png", "001.png"]


def test_what_the_first_windows_parted_is_tied_however_little_is_left(
    tmp_path: Path, store: Store
) -> None:
    """Nine pictures are two windows; one has no value, so that one more window holds the rest."""
    values = [0, 10, 20, 30, 40, 50, 60, 70, 80]
    names = [path.name for path in pictures(tmp_path / "photos", values)]

    def script(shown: list[int]) -> str:
        found = {n: v / 2 + offset(shown) for n, v in enumerate(shown, 1) if v != 40}
        return written(found)

    fake = Fake(script)
    table = score_set(files(tmp_path / "photos"), job(fake), store)
    assert sorted(fake.seen[-1]) == [value for value in values if value != 40]
    found = scores(table)
    assert found.pop(names[4]) is None
    assert sorted(found, key=lambda name: found[name] or 0) == [*names[:4], *names[5:]]


def test_a_model_that_never_answers_is_not_asked_on(tmp_path: Path, store: Store) -> None:
    pictures(tmp_path / "photos", TWENTY)
    said: list[str] = []
    fake = Fake(lambda shown: "<think>I cannot tell.")
    table = score_set(files(tmp_path / "photos"), job(fake), store, notify=said.append)
    assert set(scores(table).values()) == {None}
    assert len(fake.seen) == 3
    assert said == ["  none of 3 answers has a value, so that nothing is asked again"]


def test_what_else_a_model_may_write(tmp_path: Path, store: Store) -> None:
    """Ids that name no picture, an id again, values beyond the scale."""
    pictures(tmp_path / "photos", [10, 20, 30])

    def script(shown: list[int]) -> str:
        one, two, three = (shown.index(value) + 1 for value in (10, 20, 30))
        items = [(9, 5), (0, 5), (-1, 5), (two, 25), (one, -1e300), (two, 99), (three, 1e9)]
        listed = ", ".join(f'{{"image_id": {n}, "value": {v}}}' for n, v in items)
        return f"<answer>[{listed}]"

    table = score_set(files(tmp_path / "photos"), job(Fake(script)), store)
    assert scores(table) == {"000.png": 0, "001.png": 25, "002.png": 100}


def test_copies_of_a_picture_count_once(tmp_path: Path, store: Store) -> None:
    photos = tmp_path / "photos"
    first, *_ = pictures(photos, [40, 90, 3])
    shutil.copy(first, photos / "copy.png")
    fake = Fake()
    found = scores(score_set(files(photos), job(fake), store))
    assert [sorted(window) for window in fake.seen] == [[3, 40, 90]]
    assert found == {"000.png": 40, "001.png": 90, "002.png": 3, "copy.png": 40}


def test_an_unreadable_picture_takes_no_place_in_a_window(tmp_path: Path, store: Store) -> None:
    photos = tmp_path / "photos"
    pictures(photos, [40, 90, 3])
    broken = photos / "broken.png"
    broken.write_bytes((photos / "001.png").read_bytes()[:90])
    header = Job(parse("by file size"), HEADER, HEADER.answer(parse("by file size")))  # type: ignore[arg-type]
    known = score_files(files(photos), [header], store)  # which needs no pixel of it
    assert broken in known.paths
    fake = Fake()
    table = score_set(files(photos), job(fake), store)
    assert [skip.path for skip in table.skips] == [broken]
    assert [sorted(window) for window in fake.seen] == [[3, 40, 90]]
    assert broken not in table.paths


def test_an_interrupted_run_goes_on_and_ends_as_if_it_was_not(tmp_path: Path, store: Store) -> None:
    pictures(tmp_path / "photos", TWENTY)
    whole = Fake(off)
    with Store(tmp_path / "other.sqlite3") as other:
        wanted = scores(score_set(files(tmp_path / "photos"), job(whole), other))
    asked: list[list[int]] = []
    for _ in range(4):

        def script(shown: list[int], start: int = len(asked)) -> str:
            if len(asked) == start + 2:
                raise KeyboardInterrupt
            asked.append(shown)
            return off(shown)

        try:
            found = scores(score_set(files(tmp_path / "photos"), job(Fake(script)), store))
        except KeyboardInterrupt:
            continue
    assert found == wanted
    assert asked == whole.seen  # the very same windows, each once


def test_a_set_is_ordered_once(tmp_path: Path, store: Store) -> None:
    photos = tmp_path / "photos"
    pictures(photos, TWENTY)
    first = score_set(files(photos), job(Fake(off)), store)
    again = Fake(lambda shown: pytest.fail("these are known"))
    photos.rename(tmp_path / "moved")
    second = score_set(files(tmp_path / "moved"), job(again), store)
    assert scores(second) == scores(first)
    assert (second.computed, second.known) == (0, 20)
    other = Fake()
    score_set(files(tmp_path / "moved"), job(other, "how new?"), store)
    assert len(other.seen) == 6  # another prompt
    (tmp_path / "moved" / "000.png").unlink()
    fewer = Fake()
    score_set(files(tmp_path / "moved"), job(fewer), store)
    assert fewer.seen  # another set


def test_a_window_is_asked_about_once_whatever_set_it_comes_from(
    tmp_path: Path, store: Store
) -> None:
    photos = tmp_path / "photos"
    pictures(photos, [40, 90, 3])
    some = files(photos)
    score_set(some, job(Fake(leaving_out(3, 90, within=3))), store)  # then asks about 3 and 90
    pair = Fake(lambda shown: pytest.fail("this window is known"))
    table = score_set(some[1:], job(pair), store)
    assert scores(table) == {"001.png": 90, "002.png": 3}
    assert (table.computed, table.known) == (0, 2)


def test_several_windows_at_once_are_the_same_windows(tmp_path: Path, store: Store) -> None:
    pictures(tmp_path / "photos", TWENTY)
    alone, many = Fake(off), Fake(off, batch=4)
    wanted = scores(score_set(files(tmp_path / "photos"), job(alone), store))
    with Store(tmp_path / "other.sqlite3") as other:
        assert scores(score_set(files(tmp_path / "photos"), job(many), other)) == wanted
    assert many.seen == alone.seen


def test_where_nothing_can_be_kept_all_is_asked_once(tmp_path: Path) -> None:
    pictures(tmp_path / "photos", [40, 90, 3])
    fake, said = Fake(), list[str]()
    with Store(Path("/dev/null/nowhere"), notify=said.append) as store:
        found = scores(score_set(files(tmp_path / "photos"), job(fake), store))
    assert found == {"000.png": 40, "001.png": 90, "002.png": 3}
    assert len(fake.seen) == 1
    assert said


def test_a_picture_that_goes_away_meanwhile(tmp_path: Path, store: Store) -> None:
    photos = tmp_path / "photos"
    pictures(photos, TWENTY)

    def script(shown: list[int]) -> str:
        for path in photos.glob("*.png"):
            path.unlink()
        return off(shown)

    with pytest.raises(NothingReadable, match=r"not as it was when this began .*are kept"):
        score_set(files(photos), job(Fake(script)), store)


def test_a_picture_that_becomes_another_meanwhile(tmp_path: Path, store: Store) -> None:
    """What is said of the new one must not be kept as said of the old one."""
    photos = tmp_path / "photos"
    pictures(photos, TWENTY)
    windows: list[list[int]] = []

    def script(shown: list[int]) -> str:
        windows.append(shown)
        for path in photos.glob("*.png"):
            path.write_bytes((photos / "000.png").read_bytes())
        return off(shown)

    with pytest.raises(NothingReadable, match="is another picture by now"):
        score_set(files(photos), job(Fake(script)), store)
    table = score_set(files(photos), job(Fake(script)), store)
    assert set(scores(table).values()) == {0.0 / 2 + offset([0])}
    assert windows[-1] == [0]  # twenty copies of one picture


def test_progress_is_told_in_pictures(tmp_path: Path, store: Store) -> None:
    pictures(tmp_path / "photos", TWENTY)
    told: list[tuple[int, int]] = []
    score_set(
        files(tmp_path / "photos"),
        job(Fake(off)),
        store,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[0] == (0, 20)
    assert told[-1] == (20, 20)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_long_work_on_a_slow_device_needs_a_yes(tmp_path: Path, store: Store) -> None:
    pictures(tmp_path / "photos", TWENTY)
    some = files(tmp_path / "photos")
    slow = Fake(off, seconds=1200)
    said: list[str] = []
    forecast = (
        "about 6 windows of 8 pictures, about 20 minutes a window on this CPU, about 2 hours in all"
    )
    with pytest.raises(UsageError, match=f"^{forecast}; --yes goes on. Every answer is kept"):
        score_set(some, job(slow), store)
    with pytest.raises(UsageError, match="nothing was asked"):
        score_set(some, job(slow), store, slow=lambda text: said.append(text) or False)
    assert said == [forecast]
    assert slow.seen == []
    score_set(some, job(slow), store, slow=True, notify=said.append)
    assert said[1] == f"  {forecast}; every answer is kept"
    assert len(slow.seen) == 6
    # Known windows take no time.
    score_set(some, job(Fake(off, seconds=1200)), store)


def test_short_work_is_just_done(tmp_path: Path, store: Store) -> None:
    pictures(tmp_path / "photos", TWENTY)
    quick = Fake(off, seconds=9)
    score_set(files(tmp_path / "photos"), job(quick), store)
    assert len(quick.seen) == 6
