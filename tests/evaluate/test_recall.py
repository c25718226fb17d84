"""Places, two stages and both bootstraps, against numbers worked by hand and a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from imgrank.evaluate.captions import caption_places
from imgrank.evaluate.recall import Brought, looked_at, nearest, over_clusters, re_ranked

# Four pictures; the cosine of a text (x, 0) to a picture is x times its first number.
PICTURES = np.array([[0.1, 0], [0.9, 0], [0.5, 0], [0.9, 0]], np.float32)
ONE = np.array([[1, 0]], np.float32)


def brought(order: list[list[int]], clusters: list[int], of: list[int], own: list[int] | None):
    order_, clusters_ = np.array(order), np.array(clusters)
    mine = clusters_[order_] == np.array(of)[:, None]
    size = np.bincount(clusters_, minlength=max(of) + 1)[of]
    return Brought(order_, None if own is None else np.array(own), mine, size, clusters_)


def test_equal_pictures_keep_their_order_and_stand_before_the_own_one() -> None:
    texts = np.repeat(ONE, 4, axis=0)
    found = nearest(texts, PICTURES, 3, np.array([0, 1, 2, 3]))
    assert found.order.tolist() == [[1, 3, 2]] * 4
    assert found.own is not None
    assert found.own.tolist() == [3, 1, 2, 1]  # 1 and 3 are alike: neither is first


def test_a_few_of_many_are_those_of_a_whole_sort() -> None:
    rng = np.random.default_rng(0)
    texts, pictures = rng.normal(size=(5, 8)), rng.normal(size=(60, 8))
    few = nearest(texts.astype(np.float32), pictures.astype(np.float32), 7)
    whole = nearest(texts.astype(np.float32), pictures.astype(np.float32), 60)
    assert few.order.tolist() == whole.order[:, :7].tolist()
    assert few.cosines.tolist() == whole.cosines[:, :7].tolist()


def test_two_stages_order_the_first_by_both_and_leave_the_rest() -> None:
    pictures = np.array([[0.9, 0], [0.8, 0], [0.7, 0], [0.1, 0]], np.float32)
    own = np.array([2, 3])
    one = nearest(np.repeat(ONE, 2, axis=0), pictures, 4, own)
    # Cosines .9 .8 .7 have z of +1.2247, 0, -1.2247; scores 0 0 3 have z of -.7071 -.7071 1.4142.
    # Weight 1: .5176, -.7071, .1895.
    two = re_ranked(one, np.array([0, 0, 3, 9.0]), own, 3, 1.0)
    assert two.order.tolist() == [[0, 2, 1, 3]] * 2
    assert two.own is not None
    assert two.own.tolist() == [1, 3]  # the second is beyond the three, and stays so
    # Weight 1.25: .3408, -.8839, .5430.
    assert re_ranked(one, np.array([0, 0, 3, 9.0]), own, 3, 1.25).order[0].tolist() == [2, 0, 1, 3]


def test_a_constant_score_changes_nothing() -> None:
    one = nearest(ONE, PICTURES, 4)
    assert re_ranked(one, np.ones(4), None, 4, 1.25).order.tolist() == one.order.tolist()


def test_captions_of_a_picture_do_not_stand_before_each_other() -> None:
    texts = np.array([[0.9, 0], [0.8, 0], [0.85, 0], [0.7, 0]], np.float32)
    pictures = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    own = np.array([0, 0, 1, 2])
    # The best of picture 1 is .85, below .9 only; that of picture 2 is .7, below all three.
    assert caption_places(texts, pictures, own).tolist() == [0, 1, 3]


def test_figures_of_what_was_brought() -> None:
    two = brought([[0, 1, 2, 3], [3, 2, 1, 0]], [0, 1, 1, 2], [0, 1], [0, 2])
    assert two.found(1).tolist() == [1, 0]
    assert two.found(3).tolist() == [1, 1]
    assert two.mean_of(np.array([1.0, 2, 3, 6]), 2).tolist() == [1.5, 4.5]
    assert two.share(2).tolist() == [1, 0.5]  # of the two pictures of cluster 1 one


def test_a_round_in_which_all_is_drawn_once_gives_the_figures_themselves() -> None:
    rng = np.random.default_rng(1)
    clusters, of = [0, 0, 1, 2, 3, 3], [0, 1, 2, 3, 3]
    order = [rng.permutation(6).tolist() for _ in of]
    own = [order[0].index(1), order[1].index(2), order[2].index(3), *([order[3].index(4)] * 2)]
    found = brought(order, clusters, of, own)
    values = rng.normal(size=6)
    (once,) = found.drawn(3, np.ones((1, 4), np.float32), np.array(of))
    assert once.found(2) == pytest.approx(found.found(2).mean())
    assert once.mean_of(values) == pytest.approx(found.mean_of(values, 3).mean())
    assert once.share() == pytest.approx(found.share(3).mean())


def test_a_round_by_hand() -> None:
    # Clusters 0 to 3 of one picture each; the only query is of cluster 0 and orders 1 2 0 3.
    found = brought([[1, 2, 0, 3]], [0, 1, 2, 3], [0], [2])
    values = np.array([10.0, 1, 2, 5])
    draws = np.array([[1, 0, 1, 2], [1, 3, 0, 0], [2, 1, 1, 0], [0, 2, 1, 1]], np.float32)
    one, two, three, none = found.drawn(2, draws, np.array([0]))
    assert one.mean_of(values) == 6  # 2, 0
    assert (one.found(1), one.found(2)) == (0, 1)
    assert two.mean_of(values) == 1  # 1 thrice takes both places
    assert two.found(2) == 0
    assert three.mean_of(values) == 1.5  # the own picture was drawn twice and counts once
    assert three.found(2) == 0
    assert np.isnan(none.found(2))  # the query was not drawn


def test_rounds_agree_with_a_pool_that_is_really_drawn() -> None:
    rng = np.random.default_rng(2)
    n, k = 40, 3
    cosines = rng.normal(size=(12, n)).astype(np.float32)
    own, values = np.arange(12), rng.normal(size=n)
    order = np.argsort(-cosines, axis=1)[:, : looked_at(k, n)]
    place = (cosines > cosines[np.arange(12), own][:, None]).sum(axis=1)
    clusters = np.arange(n)
    found = Brought(order, place, order == own[:, None], np.ones(12, int), clusters)
    drawn = rng.poisson(1, size=(20, n)).astype(np.float32)
    for counts, each in zip(drawn, found.drawn(k, drawn, own), strict=True):
        hits, means, weights = [], [], []
        for q in range(12):
            pool = [p for p in range(n) for _ in range(1 if p == q else int(counts[p]))]
            best = sorted(pool, key=lambda p: -cosines[q, p])[:k]
            hits.append(q in best)
            means.append(values[best].mean())
            weights.append(counts[q])
        assert each.found(k) == pytest.approx(np.average(hits, weights=weights))
        assert each.mean_of(values) == pytest.approx(np.average(means, weights=weights))


def test_queries_of_a_cluster_are_drawn_together() -> None:
    drawn = np.array([[2, 0], [1, 1], [0, 2]], np.float32)
    found = over_clusters(np.array([1.0, 0, 1]), np.array([0, 0, 1]), drawn)
    assert found.tolist() == pytest.approx([1 / 2, 2 / 3, 1])
