"""Cosines to kept embeddings: from the store or from its mirror, whatever happens to the files."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import command_line
from made_embeddings import QUERY, SOURCE, WIDTH, ask, digest, digests, embedding, expected, keep

import imgrank.vectors.cosines as vectors
import imgrank.vectors.mirror as mirror
from imgrank.store.store import Batch, FeatureRow, Store
from imgrank.vectors.cosines import cosines, known


def files_of(folder: Path) -> tuple[Path, Path, Path]:
    """about.json, vectors, rows of the mirror."""
    place = mirror.folder_of(folder, SOURCE)
    (matrix,), (rows,) = place.glob("*.vectors"), place.glob("*.rows")
    return place / "about.json", matrix, rows


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many arrays were taken into a mirror, each time some were."""
    counts: list[int] = []
    real = mirror._added

    def spy(*arguments: object) -> object:
        counts.append(len(arguments[3]))  # type: ignore[arg-type]
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(mirror, "_added", spy)
    return counts


# ---- one picture, one cosine ---------------------------------------------------------------------


def test_in_the_order_asked_for_and_nan_where_none_is_kept(store: Store, folder: Path) -> None:
    assert np.isnan(ask(store, folder, 1, 2)).all()
    assert not folder.exists()
    keep(store, range(10))
    found = ask(store, folder, 7, 99, 3, 7, 0)
    assert found[::2] == [expected(7), expected(3), expected(0)]
    assert found[3] == found[0]
    assert np.isnan(found[1])
    assert ask(store, folder) == []
    assert known(digests(7, 99, 3, 7), SOURCE, store, folder).tolist() == [True, False, True, True]


def test_the_same_to_the_last_bit_whichever_way(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store, range(500))
    numbers = np.random.default_rng(0).permutation(520).tolist()
    ways = {}
    for name, few, block, span in (
        ("store", 10**6, 256, 1 << 16),
        ("mirror", 0, 256, 1 << 16),
        ("small blocks, threads", 0, 3, 64),
    ):
        monkeypatch.setattr(vectors, "FEW", few)
        monkeypatch.setattr(vectors, "BLOCK", block)
        monkeypatch.setattr(vectors, "SPAN", span)
        ways[name] = np.array(ask(store, folder, *numbers)).tobytes()
        some = ask(store, folder, *numbers[:40])  # less than half: single rows
        assert np.array(some).tobytes() == ways[name][: 8 * 40]
    assert len(set(ways.values())) == 1
    assert np.frombuffer(ways["store"]).tolist()[numbers.index(3)] == expected(3)


def test_a_few_pictures_make_no_mirror(store: Store, tmp_path: Path) -> None:
    keep(store, range(5))
    assert ask(store, tmp_path / "vectors", 4, 2) == [expected(4), expected(2)]
    assert not (tmp_path / "vectors").exists()


def test_an_embedding_of_zeros_is_no_damage(store: Store, folder: Path, read: list[int]) -> None:
    keep(store, [1])
    zeros = FeatureRow(digest(2), SOURCE, "pooled", np.zeros(WIDTH, np.float16))
    store.put(Batch(features=[zeros]))
    assert ask(store, folder, 1, 2) == [expected(1), 0]
    assert ask(store, folder, 2, 1) == [0, expected(1)]
    assert read == [2]


def test_arrays_of_another_type_come_from_the_store(store: Store, folder: Path) -> None:
    keep(store, [1, 2])
    exact = embedding(3).astype(np.float32) / 3
    store.put(Batch(features=[FeatureRow(digest(3), SOURCE, "pooled", exact)]))
    assert ask(store, folder, 2, 3, 1) == [expected(2), pytest.approx(expected(3)), expected(1)]
    assert known(digests(3, 4), SOURCE, store, folder).tolist() == [True, False]


# ---- following the store -------------------------------------------------------------------------


def test_only_what_is_new_is_read(store: Store, folder: Path, read: list[int]) -> None:
    keep(store, range(10))
    ask(store, folder, 1)
    before = files_of(folder)[1].read_bytes()
    ask(store, folder, 2, 99)
    keep(store, range(10, 13))
    assert ask(store, folder, 12, 4) == [expected(12), expected(4)]
    assert read == [10, 3]
    assert files_of(folder)[1].read_bytes()[: len(before)] == before
    other = [FeatureRow(digest(n), "other", "pooled", embedding(n)) for n in range(5)]
    store.put(Batch(features=other))
    assert ask(store, folder, 1) == [expected(1)]
    assert read == [10, 3]
    cosines(QUERY, digests(1), "other", store, folder)
    assert read == [10, 3, 5]
    assert len(list(folder.iterdir())) == 2


def test_replaced_ones_are_read_again_and_others_are_not(
    store: Store, folder: Path, read: list[int]
) -> None:
    keep(store, range(10))
    ask(store, folder, 1)
    keep(store, [9, 4], take=1)  # 9 was the last, so that its row's number comes again
    assert ask(store, folder, 4, 5, 9) == [expected(4, 1), expected(5), expected(9, 1)]
    assert read == [10, 2]
    assert json.loads(files_of(folder)[0].read_text())["rows"] == 10


def test_a_store_that_was_emptied_or_made_anew(store: Store, folder: Path, read: list[int]) -> None:
    keep(store, range(10))
    ask(store, folder, 1)
    store.clear()
    assert np.isnan(ask(store, folder, 1)).all()
    keep(store, range(3, 6), take=1)
    found = ask(store, folder, 1, 3)
    assert np.isnan(found[0]) and found[1] == expected(3, 1)
    store.close()
    store.path.unlink()
    with Store(store.path) as fresh:  # the same numbers again, of other embeddings
        keep(fresh, range(20))
        assert ask(fresh, folder, 1, 15, 3) == [expected(1), expected(15), expected(3)]
    assert read == [10, 3, 20]


def test_a_store_put_back_from_a_copy(store: Store, folder: Path, tmp_path: Path) -> None:
    keep(store, range(3))
    store.close()
    shutil.copy(store.path, tmp_path / "copy")
    with Store(store.path) as later:
        keep(later, range(3, 6))
        ask(later, folder, 1)
    shutil.copy(tmp_path / "copy", store.path)
    with Store(store.path) as back:
        keep(back, range(10, 18))
        assert ask(back, folder, 12, 1) == [expected(12), expected(1)]
        assert np.isnan(ask(back, folder, 4)).all()


# ---- what happens to files -----------------------------------------------------------------------


def test_an_end_that_was_torn_off_is_cut_off(store: Store, folder: Path, read: list[int]) -> None:
    keep(store, range(10))
    ask(store, folder, 1)
    about, matrix, rows = files_of(folder)
    for path in (matrix, rows):
        path.write_bytes(path.read_bytes() + b"\x7f" * 100)
    assert ask(store, folder, 9) == [expected(9)]
    keep(store, [10])
    assert ask(store, folder, 10, 0) == [expected(10), expected(0)]
    assert read == [10, 1]
    assert matrix.stat().st_size == 11 * WIDTH * 2
    assert rows.stat().st_size == 11 * mirror.ROW.itemsize
    assert json.loads(about.read_text())["rows"] == 11


@pytest.mark.parametrize("damage", ["short", "zeros", "nonsense", "gone", "rows gone"])
def test_damaged_files_are_built_anew(
    store: Store, folder: Path, read: list[int], damage: str
) -> None:
    keep(store, range(10))
    ask(store, folder, 1)
    _, matrix, rows = files_of(folder)
    whole = matrix.read_bytes()
    match damage:
        case "short":
            matrix.write_bytes(whole[:-1])
        case "zeros":
            matrix.write_bytes(whole[:100] + bytes(len(whole) - 100))
        case "nonsense":
            matrix.write_bytes(whole[:-64] + b"\xff\x7e" * 32)  # NaN
        case "gone":
            matrix.unlink()
        case "rows gone":
            rows.unlink()
    heard: list[str] = []
    assert ask(store, folder, *range(10), heard=heard) == [expected(n) for n in range(10)]
    assert read == [10, 10]
    assert heard == []
    assert files_of(folder)[1].read_bytes() == whole


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"source": "another"},
        {"store": "another"},
        {"rows": -1},
        {"rows": "10"},
        {"run": "../../other"},
        {"dtype": "O"},
        {"dtype": "no type"},
        {"surplus": 1},
        None,
    ],
)
def test_what_is_no_record_of_a_mirror_is_written_anew(
    store: Store, folder: Path, read: list[int], change: dict[str, object] | None
) -> None:
    keep(store, range(10))
    ask(store, folder, 1)
    about = files_of(folder)[0]
    facts = json.loads(about.read_text())
    about.write_text("{" if change is None else json.dumps({**facts, **change}))
    assert ask(store, folder, 3, 9) == [expected(3), expected(9)]
    assert read == [10, 10]


def test_a_full_disk_is_said_once_and_the_answer_is_the_same(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store, range(10))
    ask(store, folder, 1)
    keep(store, range(10, 20))
    real = os.fsync

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    heard: list[str] = []
    for _ in range(2):
        assert ask(store, folder, 15, 3, heard=heard) == [expected(15), expected(3)]
    assert len(heard) == 1
    assert "No space left" in heard[0]
    assert str(folder) in heard[0]
    monkeypatch.setattr(os, "fsync", real)
    assert ask(store, folder, 15, 3, heard=heard) == [expected(15), expected(3)]
    assert len(heard) == 1
    assert json.loads(files_of(folder)[0].read_text())["rows"] == 20


def test_a_folder_that_cannot_be_made(store: Store, folder: Path) -> None:
    keep(store, range(10))
    folder.write_text("a file of somebody")
    heard: list[str] = []
    assert ask(store, folder, 3, heard=heard) == [expected(3)]
    assert ask(store, folder, 4, heard=heard) == [expected(4)]
    assert len(heard) == 1
    assert folder.read_text() == "a file of somebody"


def test_another_process_that_is_at_it_for_long(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    keep(store, range(10))
    monkeypatch.setattr(mirror, "PATIENCE", 0.05)
    place = mirror.folder_of(folder, SOURCE)
    place.mkdir(parents=True)
    heard: list[str] = []
    with FileLock(place / "lock"):
        assert ask(store, folder, 3, heard=heard) == [expected(3)]
    assert len(heard) == 1


def grow(path: Path, folder: Path, first: int) -> None:
    """What one of several processes does: keeps some, replaces one, asks for all of its own."""
    vectors.FEW = 0
    with Store(path) as store:
        for start in range(first, first + 60, 10):
            keep(store, range(start, start + 10))
            keep(store, [first], take=start)
            numbers = range(first + 1, start + 10)
            assert ask(store, folder, *numbers) == [expected(n) for n in numbers]
            assert ask(store, folder, first) == [expected(first, start)]


def test_several_processes_at_once(store: Store, folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=grow, args=(store.path, folder, 1000 * (i + 1))) for i in range(3)
    ]
    for process in others:
        process.start()
    for process in others:
        process.join(120)
    assert [process.exitcode for process in others] == [0, 0, 0]
    numbers = [1000 * (i + 1) + j for i in range(3) for j in range(1, 60)]
    assert ask(store, folder, *numbers) == [expected(n) for n in numbers]
    files_of(folder)  # of one run


# ---- imgrank cache -------------------------------------------------------------------------------


def test_cache_info_prune_and_clear(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "FEW", 0)
    place, pictures = home / "cache" / "vectors", tmp_path / "pictures"
    imgrank = command_line(monkeypatch)
    pictures.mkdir()
    for n in range(4):
        (pictures / f"{n}.jpg").write_bytes(b"")
    with Store(home / "cache" / "imgrank.sqlite3") as store:
        keep(store, range(6), folder=str(pictures))  # 4 and 5 are gone
        ask(store, place, 1)
    size = 6 * (WIDTH * 2 + mirror.ROW.itemsize)
    facts = json.loads(imgrank("cache", "info", "--json").stdout)["vectors"]
    assert [(v["source"], v["embeddings"], v["of_index"]) for v in facts] == [(SOURCE, 6, 0)]
    assert facts[0]["bytes"] >= size
    assert f"6 embeddings for search (0.0 MB): {SOURCE}" in imgrank("cache", "info").stdout
    foreign = place / ("0" * 24)
    foreign.mkdir()
    (foreign / "about.json").write_text("{}")
    (place / "notes").mkdir()
    imgrank("cache", "prune")
    assert not foreign.exists()
    (found,) = json.loads(imgrank("cache", "info", "--json").stdout)["vectors"]
    assert found["embeddings"] == 4
    _, matrix, _ = files_of(place)
    assert matrix.read_bytes() == b"".join(embedding(n).tobytes() for n in range(4))
    imgrank("cache", "clear", "--yes")
    assert [path.name for path in place.iterdir()] == ["notes"]
    assert json.loads(imgrank("cache", "info", "--json").stdout)["vectors"] == []
