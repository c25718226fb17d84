"""What each step draws: uniform values, negatives, whole groups, queries, relative counts."""

from dataclasses import replace

import numpy as np
import pytest
from toy_training import CONFIG, TARGETS, N, labelled, labels

from imgrank.data.labelled import Labelled
from imgrank.errors import DataError, UsageError
from imgrank.train import sampling
from imgrank.train.adapter_recipe import Source, Task
from imgrank.train.streams import all_prompts, draw, stream_of

STEPS = 400


def counts(key: str, values: np.ndarray, subject: str = "") -> object:
    subject = subject or key
    prompt = f"sort images by the number of {subject}."
    return labels(values, key, task="count", prompt=prompt, subject=subject, range=None)


def skewed() -> np.ndarray:
    """Half of the training rows have value 0."""
    targets = TARGETS.copy()
    targets[::2] = 0
    return targets


def test_values_are_drawn_uniformly() -> None:
    values = skewed()
    pool = sampling.make_pool(labelled(labels(values)), labels(values), value_step=1)
    drawn = np.zeros(5)
    for step in range(STEPS):
        rows = sampling.draw_rows(pool, 5, 0, step)
        assert set(rows) <= set(range(50))
        assert len(set(rows)) == 5
        drawn += np.bincount(values[rows].astype(int), minlength=5)
    assert drawn / drawn.sum() == pytest.approx(np.full(5, 0.2), abs=0.04)


def test_weights_are_those_of_the_formula() -> None:
    """1 / (number of values x rows of that value), values in steps of 2."""
    values = np.full(N, np.nan, dtype=np.float32)
    values[:6] = [0.0, 0.4, 1.2, 2.0, 4.1, 3.9]  # steps of 2: 0, 0, 1, 1, 2, 2
    values[6] = 8.0
    pool = sampling.make_pool(labelled(labels(values)), labels(values), value_step=2)
    assert pool.rows.tolist() == [0, 1, 2, 3, 4, 5, 6]  # those that have a value
    assert pool.weights.tolist() == [1 / 8] * 6 + [1 / 4]


def test_a_share_of_the_batch_has_nothing_to_count() -> None:
    values = skewed()
    pool = sampling.make_pool(labelled(labels(values)), labels(values), 1, negatives=0.2)
    drawn = np.zeros(5)
    for step in range(STEPS):
        rows = sampling.draw_rows(pool, 10, 0, step)
        assert (values[rows] == 0).sum() == 2
        assert len(set(rows)) == 10
        drawn += np.bincount(values[rows].astype(int), minlength=5)
    assert drawn[1:] / drawn[1:].sum() == pytest.approx(np.full(4, 0.25), abs=0.05)


def test_too_few_negatives_or_positives_make_a_batch_of_what_there_is() -> None:
    values = np.arange(N, dtype=np.float32)
    values[1:] += 1
    data = labelled(labels(values))
    rows = sampling.draw_rows(sampling.make_pool(data, labels(values), 1, 0.5), 10, 0, 0)
    assert (values[rows] == 0).sum() == 1
    assert len(rows) == 10
    all_of_them = sampling.draw_rows(sampling.make_pool(data, labels(values)), 500, 0, 0)
    assert sorted(all_of_them) == list(range(50))


def test_whole_groups_are_drawn() -> None:
    pool = sampling.make_pool(labelled(), labels(), groups=3)
    rows = sampling.draw_rows(pool, 16, 0, 7)
    assert len(rows) == 15
    assert sorted(np.unique(rows // 5, return_counts=True)[1]) == [5, 5, 5]


def test_sources_come_by_their_shares_and_queries_uniformly() -> None:
    sources = [sampling.choose_source([1.0, 3.0], 0, step) for step in range(STEPS)]
    assert np.mean(sources) == pytest.approx(0.75, abs=0.06)
    queries = [sampling.choose_query(4, 0, step) for step in range(STEPS)]
    assert np.bincount(queries) / STEPS == pytest.approx(np.full(4, 0.25), abs=0.06)
    near = [sampling.relative_to(0.25, 12, 0, step) for step in range(8 * STEPS)]
    numbers = [n for n in near if n is not None]
    assert len(numbers) / len(near) == pytest.approx(0.25, abs=0.03)
    assert set(numbers) == set(range(13))


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    stream = stream_of(Source("toy"), labelled(labels(), labels(-TARGETS, "less")), {})
    late = draw([stream], 8, 3, 77)
    for step in range(5):
        draw([stream], 8, 3, step)
    again = draw([stream], 8, 3, 77)
    assert late.rows.tolist() == again.rows.tolist()
    assert late.prompt == again.prompt
    others = [draw([stream], 8, 4, 77), draw([stream], 8, 3, 78)]
    assert all(late.rows.tolist() != other.rows.tolist() for other in others)


def count_data() -> Labelled:
    none = np.zeros(N, dtype=np.float32)
    return labelled(
        counts("cat", TARGETS, "cats"), counts("dog", TARGETS[::-1], "dogs"), counts("emu", none)
    )


def test_relative_counts_by_hand() -> None:
    """Prompt "closeness to n", target -|y - n|; otherwise the query as it is."""
    source = Source("toy", queries=("cat", "dog"), value_step=1, relative=0.5, relative_to=3)
    stream = stream_of(source, count_data(), {"count": Task(scale=2)})
    seen = set()
    for step in range(60):
        batch = draw([stream], 16, 0, step)
        subject = batch.asked.labels.subject
        values = batch.asked.labels.values[batch.rows]
        if batch.near is None:
            assert batch.prompt == f"sort images by the number of {subject}."
            assert batch.targets.tolist() == (values / 2).tolist()
        else:
            assert batch.prompt == f"sort images by closeness to {batch.near} {subject}."
            assert batch.targets.tolist() == (-np.abs(values - batch.near) / 2).tolist()
        assert batch.targets.dtype == np.float32
        seen.add(batch.prompt)
    assert seen == set(all_prompts([stream]))
    assert len(seen) == 2 * (1 + 4)


def test_queries_that_cannot_be_trained_are_left_out_and_said() -> None:
    said: list[str] = []
    stream = stream_of(Source("toy"), count_data(), {}, said.append)
    assert [asked.labels.key for asked in stream.asked] == ["cat", "dog"]
    assert said == ["toy: not trained, for lack of different values: emu"]
    with pytest.raises(DataError, match="no query with two pictures of different value"):
        stream_of(Source("toy", queries=("emu",)), count_data(), {})


def test_sources_that_a_data_set_cannot_serve() -> None:
    with pytest.raises(UsageError, match="toy has no query cats, gnu; it has cat, dog, emu"):
        stream_of(Source("toy", queries=("cats", "gnu")), count_data(), {})
    with pytest.raises(UsageError, match="relative is for counts"):
        stream_of(Source("toy", relative=0.1), labelled(), {})
    with pytest.raises(UsageError, match="groups = 11: toy has only 10"):
        stream_of(Source("toy", groups=11), labelled(), {})


def test_the_recipe_says_how_a_task_is_asked() -> None:
    tasks = {"count": Task(prompt="Rank the numbers of {}.", unit="things", range=(0, 9))}
    stream = stream_of(Source("toy"), count_data(), tasks)
    asked = stream.asked[0].labels
    assert (asked.prompt, asked.unit, asked.range) == (
        "Rank the numbers of cats.",
        "things",
        (0, 9),
    )
    assert all_prompts([stream]) == ["Rank the numbers of cats.", "Rank the numbers of dogs."]


def test_pairs_within_a_group() -> None:
    stream = stream_of(Source("toy", within=True), labelled(), {})
    batch = replace(draw([stream], 4, 0, 0), rows=np.array([0, 4, 5, 1]))
    pairs = batch.pairs(__import__("torch").device("cpu"))
    assert pairs is not None
    assert pairs.int().tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]]
    assert CONFIG.sources[1].within
