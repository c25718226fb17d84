"""A new instruction over pictures whose features are known: no file is opened, no model is loaded
for them, and the scores are those that a run over the files gives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import imgrank.pipeline as pipeline
import imgrank.scoring as scoring
from imgrank import api
from imgrank.images import ImageFile
from imgrank.images.scan import scan
from imgrank.instruction import Query
from imgrank.pipeline import compute_features, score_files
from imgrank.rankers.base import Answer, Features, Job, Score
from imgrank.store.store import Store

COUNT = 30


class Source:
    """`pooled` is the mean colour, `grid` a part of the picture."""

    identity = "source.1"
    kept = frozenset({"pooled", "grid"})
    batch = 1

    def prepare(self, data: bytes) -> np.ndarray:
        from imgrank.images.decode import decode

        return np.asarray(decode(data), np.float32)

    def compute(self, prepared: Sequence[np.ndarray]) -> list[Features]:
        return [{"pooled": p.mean((0, 1)), "grid": p[:2, :2, 0]} for p in prepared]


class Ranker:
    """Scores by one channel of what it needs; `nothing` is a property that no picture has."""

    name, scope = "ranker", "image"

    def __init__(self, source: Source, needs: str = "pooled") -> None:
        self.source, self.needs = source, frozenset({needs})
        self.identity = f"ranker.{needs}"
        self.sizes: list[int] = []

    def answer(self, query: Query) -> Answer:
        return Answer("test", "ranker", "1", query.prompt, "")

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        self.sizes.append(len(features))
        (name,) = self.needs
        return [
            [
                None if q.prompt == "nothing" else Score(float(f[name].ravel()[len(q.prompt) % 3]))
                for q in queries
            ]
            for f in features
        ]


def job(ranker: Ranker, prompt: str) -> Job:
    query = Query(text=prompt, task=None, prompt=prompt)
    return Job(query, ranker, ranker.answer(query))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite3")


@pytest.fixture
def files(tmp_path: Path) -> list[ImageFile]:
    place = tmp_path / "pictures"
    place.mkdir()
    for i in range(COUNT):
        Image.new("RGB", (4, 4), (5 * i, 250 - i, 7)).save(place / f"{i:02d}.png")
    return [f for f in scan([place]) if isinstance(f, ImageFile)]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the files that were read from now on."""
    read: list[Path] = []
    real = pipeline.read_file

    def spy(path: Path) -> bytes:
        read.append(path)
        return real(path)

    monkeypatch.setattr(pipeline, "read_file", spy)
    return read


@pytest.mark.parametrize("needs", ["pooled", "grid"])
def test_no_file_is_read_and_the_scores_are_the_same(
    files: list[ImageFile], store: Store, tmp_path: Path, closed: list[Path], needs: str
) -> None:
    with Store(tmp_path / "other.sqlite3") as other:
        fresh = score_files(files, [job(Ranker(Source(), needs), "red")], other)
    compute_features(files, Source(), store, keep_all=True)
    closed.clear()
    seen: list[tuple[int, int]] = []
    table = score_files(
        files,
        [job(Ranker(Source(), needs), "red")],
        store,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert closed == []
    assert (table.paths, table.scores) == (fresh.paths, fresh.scores)
    assert (table.computed, table.known) == (COUNT, 0)
    assert seen[0] == (0, COUNT)
    assert seen[-1] == (COUNT, COUNT)
    again = score_files(files, [job(Ranker(Source(), needs), "red")], store)
    assert (again.scores, again.computed, again.known) == (fresh.scores, 0, COUNT)


def test_an_absent_property_and_a_job_that_is_known_beside_one_that_is_not(
    files: list[ImageFile], store: Store, closed: list[Path]
) -> None:
    ranker = Ranker(Source())
    first = score_files(files, [job(ranker, "red")], store)
    closed.clear()
    jobs = [job(ranker, "red"), job(ranker, "nothing"), job(Ranker(Source(), "grid"), "blue")]
    table = score_files(files, jobs, store)
    assert closed == []
    assert [row[0] for row in table.scores] == [row[0] for row in first.scores]
    assert [row[1] for row in table.scores] == [None] * COUNT
    assert [row[2] for row in table.scores] == [Score(5.0 * i) for i in range(COUNT)]
    assert score_files(files, jobs, store).known == COUNT


def test_new_changed_and_evicted_pictures_take_the_other_way(
    files: list[ImageFile], store: Store, closed: list[Path]
) -> None:
    place = files[0].path.parent
    compute_features(files, Source(), store)
    Image.new("RGB", (4, 4), (255, 0, 0)).save(place / "03.png")
    Image.new("RGB", (4, 4), (9, 9, 9)).save(place / "new.png")
    (place / "zz.png").write_bytes(b"no picture")
    closed.clear()
    found = [f for f in scan([place]) if isinstance(f, ImageFile)]
    table = score_files(found, [job(Ranker(Source()), "red")], store)
    assert sorted(p.name for p in closed) == ["03.png", "new.png", "zz.png"]
    assert [p.name for p in table.paths] == [f"{i:02d}.png" for i in range(COUNT)] + ["new.png"]
    assert [s.path.name for s in table.skips] == ["zz.png"]
    assert table.computed == COUNT + 1


def test_token_maps_over_the_budget_are_computed_again(
    files: list[ImageFile], tmp_path: Path, closed: list[Path]
) -> None:
    size = np.zeros((2, 2), np.float32).nbytes
    with Store(tmp_path / "small.sqlite3", feature_budget=10 * size) as store:
        compute_features(files, Source(), store)
        closed.clear()
        table = score_files(files, [job(Ranker(Source(), "grid"), "red")], store)
        assert len(closed) == COUNT - 10
        assert [row[0] for row in table.scores] == [Score(5.0 * i) for i in range(COUNT)]


def test_an_interrupt_keeps_the_chunks_before_it(
    files: list[ImageFile], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "CHUNK", 8)
    monkeypatch.setattr(scoring, "AT_ONCE", 5)
    compute_features(files, Source(), store)

    def interrupt(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    ranker = Ranker(Source())
    with pytest.raises(KeyboardInterrupt):
        score_files(files, [job(ranker, "red")], store, progress=interrupt)
    assert ranker.sizes == [5, 3, 5, 3]
    table = score_files(files, [job(ranker, "red")], store)
    assert (table.known, table.computed) == (16, COUNT - 16)


def test_copies_of_one_picture_are_scored_once(
    files: list[ImageFile], store: Store, closed: list[Path]
) -> None:
    place = files[0].path.parent
    (place / "copy.png").write_bytes((place / "00.png").read_bytes())
    found = [f for f in scan([place]) if isinstance(f, ImageFile)]
    compute_features(found, Source(), store)
    closed.clear()
    ranker = Ranker(Source())
    table = score_files(found, [job(ranker, "red")], store)
    assert closed == []
    assert sum(ranker.sizes) == COUNT
    assert dict(zip(table.paths, table.scores, strict=True))[place / "copy.png"] == [Score(0.0)]


def test_features_that_come_from_the_store_in_chunks_count_as_used(
    files: list[ImageFile], tmp_path: Path
) -> None:
    size = np.zeros((2, 2), np.float32).nbytes
    ticks = iter(range(1, 10_000))
    with Store(tmp_path / "s", feature_budget=COUNT * size, clock=lambda: next(ticks)) as store:
        compute_features(files, Source(), store)
        score_files(files[:1], [job(Ranker(Source(), "grid"), "red")], store)
        place = files[0].path.parent
        Image.new("RGB", (4, 4), (1, 2, 3)).save(place / "new.png")
        found = [f for f in scan([place]) if isinstance(f, ImageFile)]
        compute_features([f for f in found if f.path.name == "new.png"], Source(), store)
        digests = store.known_digests(found)
        there = store.with_features(list(digests.values()), Source.identity, {"grid"})
        gone = [path.name for path, digest in digests.items() if digest not in there]
        assert gone == ["01.png"]  # 00 was used after it was kept


SORT = """
import sys
from imgrank import api
rows = api.sort(sys.argv[1], sys.argv[2])
print(len(rows), [m for m in ("torch", "open_clip", "PIL") if m in sys.modules])
"""


def test_a_new_instruction_of_known_words_imports_no_torch(tmp_path: Path, home: Path) -> None:
    place = tmp_path / "pictures"
    place.mkdir()
    for i in range(3):
        Image.new("RGB", (300, 200), (80 * i, 20, 90)).save(place / f"{i}.png")
    api.sort(place / "0.png", "a red wall")  # the words are known after this
    api.index(place)
    out = subprocess.run(
        [sys.executable, "-c", SORT, str(place), "a red wall"],
        capture_output=True,
        text=True,
        env={**os.environ, "IMGRANK_HOME": str(home)},
    )
    assert out.stdout.strip() == "3 []", out.stderr
