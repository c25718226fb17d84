"""The feature budget, what `cache info` counts, what `cache prune` and `cache clear` take away."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgrank.images import ImageFile
from imgrank.store.store import Batch, FeatureRow, FileRow, Score, ScoreRow, Store

KB = 1000


def name(number: int) -> bytes:
    return bytes([number]) * 32


def grid(*numbers: int, size: int = KB) -> Batch:
    return Batch(
        features=[FeatureRow(name(n), "tiny", "grid", np.zeros(size, np.uint8)) for n in numbers]
    )


def present(store: Store, count: int = 30) -> set[int]:
    """Which grids are there; asking so is no use of them."""
    found = store.with_features([name(n) for n in range(count)], "tiny", {"grid"})
    return {n for n in range(count) if name(n) in found}


def counter() -> Callable[[], int]:
    ticks = itertools.count(1)
    return lambda: next(ticks)


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    with Store(tmp_path / "s", feature_budget=4 * KB, clock=counter()) as store:
        store.put(grid(0, 1))
        store.put(grid(2, 3))
        assert present(store) == {0, 1, 2, 3}
        store.features(name(0), "tiny")
        store.features(name(2), "tiny")
        store.put(grid(4))
        assert present(store) == {0, 2, 3, 4}
        store.put(grid(5))
        assert present(store) == {0, 2, 4, 5}
        store.put(grid(6))
        assert present(store) == {2, 4, 5, 6}
        store.put(grid(2))  # written again: used
        store.put(grid(7, 8))
        assert present(store) == {2, 6, 7, 8}


def test_uses_are_remembered_after_closing(tmp_path: Path) -> None:
    clock = counter()
    with Store(tmp_path / "s", feature_budget=2 * KB, clock=clock) as store:
        store.put(grid(0, 1))
    with Store(tmp_path / "s", feature_budget=2 * KB, clock=clock) as store:
        store.features(name(0), "tiny")
    with Store(tmp_path / "s", feature_budget=2 * KB, clock=clock) as store:
        store.put(grid(2))
        assert present(store) == {0, 2}


def test_a_clock_that_stands_still_or_goes_back_keeps_the_order(tmp_path: Path) -> None:
    times = iter([100, 100, 50, 100, 20, 20, 20, 20])
    with Store(tmp_path / "s", feature_budget=2 * KB, clock=lambda: next(times)) as store:
        for n in range(4):
            store.put(grid(n))
        assert present(store) == {2, 3}


def test_the_budget_holds_whatever_the_sizes(tmp_path: Path) -> None:
    with Store(tmp_path / "s", feature_budget=5 * KB, clock=counter()) as store:
        store.put(grid(0, 1, 2, 3, 4))
        store.put(grid(5, size=3 * KB))
        assert present(store) == {3, 4, 5}
        store.put(grid(6, size=6 * KB))  # larger than the budget: nothing makes room for it
        assert present(store) == {3, 4, 5}
        store.put(grid(*range(10, 20)))  # a batch larger than the budget: its last ones
        assert present(store) == {15, 16, 17, 18, 19}
        assert store.info().evictable_bytes == 5 * KB
    with Store(tmp_path / "s", feature_budget=0) as store:
        store.put(grid(20))
        assert 20 not in present(store)


def test_small_ones_are_always_kept(tmp_path: Path) -> None:
    small = np.zeros(3 * KB, np.uint8)
    with Store(tmp_path / "s", feature_budget=KB, clock=counter()) as store:
        for n in range(5):
            store.put(
                Batch(
                    features=[
                        FeatureRow(name(n), "tiny", "pooled", small),
                        FeatureRow(name(n), "tiny", "statistics", small),
                        FeatureRow(name(n), "tiny", "mine", small, evictable=False),
                        FeatureRow(name(n), "tiny", "grid", np.zeros(KB, np.uint8)),
                    ]
                )
            )
        digests = [name(n) for n in range(5)]
        found = store.with_features(digests, "tiny", {"pooled", "statistics", "mine"})
        assert found == set(digests)
        assert present(store) == {4}
        counts = {c.name: (c.arrays, c.bytes, c.evictable) for c in store.info().features}
    assert counts == {
        "grid": (1, KB, True),
        "mine": (5, 15 * KB, False),
        "pooled": (5, 15 * KB, False),
        "statistics": (5, 15 * KB, False),
    }


def sorted_folder(store: Store, folder: Path, numbers: range) -> None:
    """As a sort leaves it: files, scores by two prompts, features."""
    folder.mkdir(exist_ok=True)
    for n in numbers:
        (folder / f"{n}.jpg").write_bytes(b"x" * n)
    store.put(
        Batch(
            files=[FileRow(ImageFile(folder / f"{n}.jpg", n, 1), name(n)) for n in numbers],
            scores=[ScoreRow(name(n), "tiny", p, Score(1.0)) for n in numbers for p in ("a", "b")],
            features=grid(*numbers).features,
        )
    )


def test_info_counts(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    with Store(path, feature_budget=50 * KB) as store:
        sorted_folder(store, tmp_path / "one", range(5))
        store.put(
            Batch(
                files=[FileRow(ImageFile(tmp_path / "copy.jpg", 1, 1), name(1))],
                scores=[ScoreRow(name(0), "measured", "brightness", Score(0.5))],
            )
        )
        info = store.info()
    assert (info.path, info.version, info.writable) == (path, 4, True)
    assert (info.files, info.pictures) == (6, 5)
    assert [tuple(s) for s in info.scores] == [("measured", 1, 1), ("tiny", 2, 10)]
    assert [tuple(f) for f in info.features] == [("tiny", "grid", 5, 5 * KB, True)]
    assert (info.evictable_bytes, info.feature_budget) == (5 * KB, 50 * KB)
    assert info.file_bytes >= 5 * KB
    assert info.set_aside == ()


def test_prune_forgets_pictures_that_are_gone(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        sorted_folder(store, tmp_path / "one", range(5))
        sorted_folder(store, tmp_path / "two", range(10, 13))
        (tmp_path / "one" / "0.jpg").unlink()
        (tmp_path / "one" / "1.jpg").rename(tmp_path / "one" / "renamed.jpg")
        store.put(Batch(files=[FileRow(ImageFile(tmp_path / "one/renamed.jpg", 1, 1), name(1))]))
        for file in (tmp_path / "two").iterdir():
            file.unlink()
        (tmp_path / "two").rmdir()  # a disk that is not plugged in looks like this
        freed = store.prune()
        assert (freed.files, freed.scores, freed.features) == (2, 2, 1)
        assert present(store) == {1, 2, 3, 4, 10, 11, 12}
        assert set(store.scores([name(0), name(1), name(10)], "tiny", "a")) == {name(1), name(10)}
        freed = store.prune(gone_folders=True)
        assert (freed.files, freed.scores, freed.features) == (3, 6, 3)
        assert present(store) == {1, 2, 3, 4}
        assert store.prune() == (0, 0, 0, 0, 0)


def test_prune_by_age_and_to_a_smaller_budget(tmp_path: Path) -> None:
    day = 86_400 * 10**9
    now = [100 * day]
    with Store(tmp_path / "s", clock=lambda: now[0]) as store:
        sorted_folder(store, tmp_path / "one", range(1, 5))
        now[0] += 10 * day
        store.features(name(2), "tiny")
        now[0] += 5 * day
        assert store.prune(unused_days=16).features == 0
        assert store.prune(unused_days=10).features == 3
        assert present(store) == {2}
        assert len(store.scores([name(n) for n in range(5)], "tiny", "a")) == 4
    with Store(tmp_path / "s", feature_budget=0) as store:
        assert store.prune().features == 1


def test_prune_gives_space_back(tmp_path: Path) -> None:
    with Store(tmp_path / "s", clock=counter()) as store:
        sorted_folder(store, tmp_path / "one", range(1, 3))
        big = grid(1, 2, size=2_000 * KB)
        store.put(big)
        before = store.info().file_bytes
        (tmp_path / "one" / "1.jpg").unlink()
        freed = store.prune()
        assert freed.bytes > 2_000 * KB
        assert store.info().file_bytes == before - freed.bytes


def test_clear(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        sorted_folder(store, tmp_path / "one", range(1, 5))
        store.put(grid(1, size=500 * KB))
        assert store.clear() > 500 * KB
        info = store.info()
        assert (info.files, info.scores, info.features) == (0, (), ())
        sorted_folder(store, tmp_path / "one", range(1, 5))
        assert store.info().files == 4


def test_a_link_that_points_nowhere_is_a_file_that_is_there(tmp_path: Path) -> None:
    link = tmp_path / "link.jpg"
    try:
        link.symlink_to(tmp_path / "unplugged" / "1.jpg")
    except OSError:
        pytest.skip("no symbolic links here")
    with Store(tmp_path / "s") as store:
        store.put(Batch(files=[FileRow(ImageFile(link, 1, 1), name(1))]))
        assert store.prune().files == 0
