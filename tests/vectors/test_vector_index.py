"""The nearest embeddings, exact and by an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_embeddings import QUERY, SOURCE, WIDTH, ask, best, digests, expected, find, keep

import imgrank.vectors.index as vector_index
import imgrank.vectors.mirror as mirror
import imgrank.vectors.upkeep as upkeep
from imgrank.errors import MissingExtra
from imgrank.store.store import Store
from imgrank.vectors.cosines import nearest


def test_the_nearest_of_all(store: Store, folder: Path) -> None:
    keep(store, range(50))
    found, values = find(store, folder, range(60), 7)
    assert found == best(range(50), 7)
    assert values == [expected(n) for n in found]
    assert find(store, folder, range(48, 60), 7)[0] == best([48, 49], 2)
    assert find(store, folder, range(50), 0) == ([], [])
    twice = nearest(QUERY, digests(5, 8, 5, 5), 2, SOURCE, store, folder)[0].tolist()
    assert twice == ([0, 2] if expected(5) > expected(8) else [1, 0])


COUNT = 2000


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows an index had, each time it was written."""
    pytest.importorskip("usearch", reason="the extra search is not installed")
    counts: list[int] = []
    real = vector_index.candidates

    def spy(of: mirror.Mirror, unit: np.ndarray, count: int, notify: object) -> object:
        graph = of.folder / vector_index.GRAPH
        before = graph.stat().st_mtime_ns if graph.exists() else 0
        found = real(of, unit, count, notify)  # type: ignore[arg-type]
        if graph.stat().st_mtime_ns != before:
            counts.append(len(of.rows))
        return found

    monkeypatch.setattr(vector_index, "candidates", spy)
    return counts


def test_the_index_is_built_once_and_follows_the_store(
    store: Store, folder: Path, built: list[int]
) -> None:
    keep(store, range(COUNT))
    heard: list[str] = []
    for _ in range(2):
        found, values = find(store, folder, range(COUNT), 5, heard)
        assert found == best(range(COUNT), 5)
        assert values == [expected(n) for n in found]
    assert built == [COUNT]
    keep(store, range(COUNT, COUNT + 100))
    keep(store, [found[0]], take=3)  # moves away
    again = find(store, folder, range(COUNT + 100), 5, heard)[0]
    rest = [n for n in range(COUNT + 100) if n != found[0]]
    assert [n for n in again if n != found[0]] == best(rest, 5)[: 5 - (found[0] in again)]
    assert built == [COUNT, COUNT + 100]
    assert heard == []


def test_the_index_restricted_to_some_of_the_pictures(
    store: Store, folder: Path, built: list[int]
) -> None:
    keep(store, range(COUNT))
    heard: list[str] = []
    some = list(range(0, COUNT, 2))
    assert find(store, folder, some, 5, heard)[0] == best(some, 5)
    assert heard == []
    few = list(range(0, COUNT, 20))
    assert find(store, folder, few, 5, heard)[0] == best(few, 5)
    assert find(store, folder, range(COUNT), 500, heard)[0] == best(range(COUNT), 500)
    assert len(heard) == 2
    assert all(line.startswith("exact: ") for line in heard)


def test_pruning_takes_an_index_away_that_has_what_is_gone(
    store: Store, folder: Path, built: list[int], tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    keep(store, range(COUNT), folder=str(pictures))
    find(store, folder, range(COUNT), 5, [])
    (graph,) = folder.glob("*/index.usearch")
    assert upkeep.prune(folder, store) == 0
    assert graph.exists()
    store.prune()  # no picture is there
    keep(store, range(COUNT, COUNT + 5), folder=str(pictures))
    assert upkeep.prune(folder, store) > COUNT * WIDTH * 2
    assert not graph.exists()
    assert ask(store, folder, COUNT + 1) == [expected(COUNT + 1)]
    assert built == [COUNT]


@pytest.mark.parametrize("damage", ["torn", "foreign", "gone", "no stamps"])
def test_a_damaged_index_is_built_anew(
    store: Store, folder: Path, built: list[int], damage: str
) -> None:
    keep(store, range(COUNT))
    heard: list[str] = []
    find(store, folder, range(COUNT), 5, heard)
    (graph,) = folder.glob("*/index.usearch")
    match damage:
        case "torn":
            graph.write_bytes(graph.read_bytes()[:5000])
        case "foreign":
            graph.write_bytes(b"something else" * 100)
        case "gone":
            graph.unlink()
        case "no stamps":
            graph.with_name("index.stamps").unlink()
    assert find(store, folder, range(COUNT), 5, heard)[0] == best(range(COUNT), 5)
    assert built == [COUNT, COUNT]


def test_an_index_that_cannot_be_written_is_said_and_the_answer_exact(
    store: Store, folder: Path
) -> None:
    pytest.importorskip("usearch", reason="the extra search is not installed")
    keep(store, range(COUNT))
    (mirror.folder_of(folder, SOURCE) / "index.stamps.new").mkdir(parents=True)  # in its place
    heard: list[str] = []
    assert find(store, folder, range(COUNT), 5, heard)[0] == best(range(COUNT), 5)
    (line,) = heard
    assert line.startswith("exact: the index cannot be used (")
    assert "directory" in line


def test_an_answer_longer_than_a_pipe_holds(store: Store, folder: Path) -> None:
    pytest.importorskip("usearch", reason="the extra search is not installed")
    count = 10_000  # of 8 bytes each
    keep(store, range(count))
    state = store.array_state(SOURCE, "pooled")
    assert state is not None
    mapped = mirror.open_mirror(folder, SOURCE, store, state)
    assert mapped is not None
    heard: list[str] = []
    found = vector_index.candidates(mapped, QUERY.astype(np.float64), count, heard.append)
    assert len(set(found.tolist())) > 0.9 * count
    assert heard == []


def test_nothing_is_imported_from_the_folder_one_is_in(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch", reason="the extra search is not installed")
    (tmp_path / "usearch.py").write_text("open('run', 'w')")
    monkeypatch.chdir(tmp_path)
    keep(store, range(COUNT))
    heard: list[str] = []
    assert find(store, folder, range(COUNT), 5, heard)[0] == best(range(COUNT), 5)
    assert (heard, (tmp_path / "run").exists()) == ([], False)


def test_without_the_library_the_pip_line(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    keep(store, range(10))
    with pytest.raises(MissingExtra, match=r"pip install 'imgrank\[approximate\]'"):
        find(store, folder, range(10), 5, [])
