"""Decode -> batch -> model -> store, with a ranker that counts what it is asked to do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgrank.images import ImageFile, Skip
from imgrank.images.decode import decode
from imgrank.images.scan import scan
from imgrank.instruction import Query
from imgrank.pipeline import BATCH, compute_features, score_files
from imgrank.rankers.base import Answer, Features, Job, Score
from imgrank.store.store import Store


class MeanSource:
    """`pooled` is the mean colour; counts the pictures that go through it."""

    identity = "mean.1"
    kept = frozenset({"pooled", "grid"})
    batch = 1

    def __init__(self) -> None:
        self.prepared = 0
        self.batches: list[int] = []

    def prepare(self, data: bytes) -> Any:
        self.prepared += 1
        return np.asarray(decode(data), np.float32)

    def compute(self, prepared: Sequence[Any]) -> list[Features]:
        self.batches.append(len(prepared))
        return [{"pooled": p.mean((0, 1)), "grid": p[:4, :4, 0]} for p in prepared]


class MeanRanker:
    name = "mean"
    identity = "mean-ranker.1"
    scope = "image"
    needs = frozenset({"pooled"})

    def __init__(self, source: MeanSource) -> None:
        self.source = source
        self.asked: list[list[str]] = []

    def answer(self, query: Query) -> Answer:
        return Answer("test", "mean", "1", query.prompt, "")

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        self.asked.append([q.prompt for q in queries])
        channel = {"red": 0, "green": 1, "nothing": None}
        return [
            [
                None if channel[q.prompt] is None else Score(float(f["pooled"][channel[q.prompt]]))
                for q in queries
            ]
            for f in features
        ]


@pytest.fixture
def ranker() -> MeanRanker:
    return MeanRanker(MeanSource())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty pictures, number i with red = 10 i and green = 200 - i, and one that is no picture."""
    place = tmp_path / "pictures"
    place.mkdir()
    for i in range(20):
        Image.new("RGB", (8, 8), (10 * i, 200 - i, 0)).save(place / f"{i:02d}.png")
    (place / "zz.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    return place


def job(ranker: MeanRanker, prompt: str) -> Job:
    query = Query(text=prompt, task=None, prompt=prompt)
    return Job(query, ranker, ranker.answer(query))


def files(folder: Path) -> list[ImageFile]:
    return [f for f in scan([folder]) if isinstance(f, ImageFile)]


def test_scores_in_scan_order_and_skips_with_reason(
    folder: Path, store: Store, ranker: MeanRanker
) -> None:
    table = score_files(files(folder), [job(ranker, "red"), job(ranker, "green")], store)
    assert [p.name for p in table.paths] == [f"{i:02d}.png" for i in range(20)]
    assert table.scores == [[Score(10.0 * i), Score(200.0 - i)] for i in range(20)]
    assert [(s.path.name, bool(s.reason)) for s in table.skips] == [("zz.png", True)]
    assert (table.computed, table.known) == (20, 0)
    assert max(ranker.source.batches) <= BATCH
    assert all(asked == ["red", "green"] for asked in ranker.asked)  # one pass for both


def test_a_second_run_computes_nothing(folder: Path, store: Store, ranker: MeanRanker) -> None:
    first = score_files(files(folder), [job(ranker, "red")], store)
    prepared = ranker.source.prepared
    again = score_files(files(folder), [job(ranker, "red")], store)
    assert (again.scores, again.paths) == (first.scores, first.paths)
    assert (again.computed, again.known) == (0, 20)
    assert ranker.source.prepared == prepared + 1  # the broken file alone is tried again


def test_renamed_moved_and_copied_files_are_known_by_content(
    folder: Path, store: Store, ranker: MeanRanker
) -> None:
    (folder / "zz.png").unlink()
    score_files(files(folder), [job(ranker, "red")], store)
    moved = folder.with_name("moved")
    folder.rename(moved)
    (moved / "00.png").rename(moved / "renamed.png")
    shutil.copy(moved / "01.png", moved / "copy.png")
    prepared = ranker.source.prepared
    table = score_files(files(moved), [job(ranker, "red")], store)
    assert (table.computed, table.known) == (0, 21)
    assert ranker.source.prepared == prepared
    assert dict(zip((p.name for p in table.paths), table.scores, strict=True))["copy.png"] == [
        Score(10.0)
    ]
    assert len(store.known_digests(files(moved))) == 21  # a third run reads no file


def test_a_changed_picture_is_computed_again(
    folder: Path, store: Store, ranker: MeanRanker
) -> None:
    score_files(files(folder), [job(ranker, "red")], store)
    Image.new("RGB", (9, 9), (255, 0, 0)).save(folder / "00.png")
    table = score_files(files(folder), [job(ranker, "red")], store)
    assert (table.computed, table.known) == (1, 19)
    assert table.scores[0] == [Score(255.0)]


def test_a_new_query_takes_kept_features(folder: Path, store: Store, ranker: MeanRanker) -> None:
    score_files(files(folder), [job(ranker, "red")], store)
    batches = list(ranker.source.batches)
    table = score_files(files(folder), [job(ranker, "red"), job(ranker, "green")], store)
    assert table.scores[3] == [Score(30.0), Score(197.0)]
    assert ranker.source.batches == batches


def test_a_property_that_is_absent_is_known_to_be(
    folder: Path, store: Store, ranker: MeanRanker
) -> None:
    first = score_files(files(folder), [job(ranker, "nothing")], store)
    assert first.scores == [[None]] * 20
    again = score_files(files(folder), [job(ranker, "nothing")], store)
    assert (again.scores, again.computed) == (first.scores, 0)


def test_an_interrupt_keeps_all_earlier_batches(
    folder: Path, store: Store, ranker: MeanRanker
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= BATCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_files(files(folder), [job(ranker, "red")], store, progress=interrupt)
    table = score_files(files(folder), [job(ranker, "red")], store)
    assert table.known == BATCH
    assert table.computed == 20 - BATCH


def test_progress_counts_up_to_all(folder: Path, store: Store, ranker: MeanRanker) -> None:
    seen: list[tuple[int, int]] = []
    score_files(
        files(folder),
        [job(ranker, "red")],
        store,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[0] == (0, 21)
    assert seen[-1] == (21, 21)
    assert seen == sorted(seen)


def test_a_model_that_wants_larger_batches_gets_them_once_it_is_loaded(
    folder: Path, store: Store, ranker: MeanRanker
) -> None:
    source, compute = ranker.source, ranker.source.compute

    def load(prepared: Sequence[Any]) -> list[Features]:
        source.batch = 10
        return compute(prepared)

    source.compute = load  # type: ignore[method-assign]
    score_files(files(folder), [job(ranker, "red")], store)
    assert source.batches == [BATCH, 10, 20 - BATCH - 10]


def test_no_more_pictures_are_in_flight_than_two_batches_and_two_a_thread(
    folder: Path, store: Store, ranker: MeanRanker
) -> None:
    # Every batch is taken off before more is decoded, so that memory does not follow the folder.
    ahead: list[int] = []
    compute = ranker.source.compute

    def spy(prepared: Sequence[Any]) -> list[Features]:
        ahead.append(ranker.source.prepared - sum(ranker.source.batches))
        return compute(prepared)

    ranker.source.compute = spy  # type: ignore[method-assign]
    score_files(files(folder), [job(ranker, "red")], store, threads=1)
    assert max(ahead) <= BATCH + 2 * BATCH + 2


def test_index_keeps_features_and_no_scores(folder: Path, store: Store, ranker: MeanRanker) -> None:
    table = compute_features(files(folder), ranker.source, store)
    assert (table.computed, table.known, len(table.skips)) == (20, 0, 1)
    batches = list(ranker.source.batches)
    assert compute_features(files(folder), ranker.source, store).known == 20
    score_files(files(folder), [job(ranker, "red")], store)
    assert ranker.source.batches == batches  # the later sort needed the head alone


def test_index_with_tokens_keeps_them_outside_the_budget(
    folder: Path, tmp_path: Path, ranker: MeanRanker
) -> None:
    with Store(tmp_path / "small.sqlite3", feature_budget=0) as store:
        compute_features(files(folder), ranker.source, store)
        assert {f.name for f in store.info().features if f.arrays} == {"pooled"}
        compute_features(files(folder), ranker.source, store, keep_all=True)
        found = {f.name: (f.arrays, f.evictable) for f in store.info().features}
        assert found["grid"] == (20, False)


def test_results_do_not_depend_on_the_number_of_threads(
    folder: Path, tmp_path: Path, ranker: MeanRanker
) -> None:
    tables = []
    for threads in (1, 4):
        with Store(tmp_path / f"{threads}.sqlite3") as store:
            tables.append(score_files(files(folder), [job(ranker, "red")], store, threads=threads))
    assert tables[0].scores == tables[1].scores
    assert [s for s in tables[0].skips if isinstance(s, Skip)] == tables[1].skips
