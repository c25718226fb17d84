"""The matrices of preference data: an example worked by hand, and a slow reference for all else."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgrank.data.ordering import Grid, arrange, best, ensemble, order_pairs
from imgrank.errors import DataError, UsageError

# ---- 25 pictures, worked by hand -----------------------------------------------------------------

LETTERS = "abcdefghijklmnopqrstuvwxy"
COSINES = {  # in order of relevance; h ties with q, and k with w: the earlier key comes first
    **{"m": 0.50, "c": 0.48, "x": 0.47, "a": 0.46, "h": 0.45},
    **{"q": 0.45, "e": 0.44, "g": 0.43, "s": 0.42, "k": 0.40},
    **{"w": 0.40, "b": 0.39, "t": 0.38, "y": 0.37, "f": 0.36},
    **{"d": 0.20, "n": 0.19, "r": 0.18, "l": 0.17, "j": 0.16},
    **{"u": 0.02, "i": 0.01, "o": 0.00, "p": -0.01, "v": -0.02},
}
SCORES = {  # q ties with e: the more relevant one comes first
    **{"m": 3.0, "c": 5.5, "x": 4.1, "a": 6.2, "h": 2.7},
    **{"q": 4.4, "e": 4.4, "g": 6.0, "s": 1.9, "k": 5.0},
    **{"w": 2.0, "b": 3.3, "t": 6.9, "y": 5.1, "f": 5.2},
    **{"d": 4.0, "n": 4.9, "r": 4.8, "l": 4.7, "j": 4.6},
    **{"u": 1.0, "i": 2.5, "o": 3.5, "p": 6.5, "v": 5.9},
}
MATRIX = ["acxmh", "gkqes", "tfybw", "nrljd", "pvoiu"]
FIRST_ROW = "ac ax am ah cx cm ch xm xh mh"
FIRST_COLUMN = "ag at an ap gt gn gp tn tp np"
LAST_COLUMN = "hs hw hd hu sw sd su wd wu du"


def row_of(table: dict[str, float], letters: str = LETTERS) -> np.ndarray:
    return np.array([[table[letter] for letter in letters]])


def test_the_matrix_worked_by_hand() -> None:
    grid = Grid().fitted(25)
    assert grid == Grid(top=25, stride=1, rows=5, columns=5)
    order = best(row_of(COSINES).astype(np.float32), grid.top)
    assert "".join(LETTERS[n] for n in order[0]) == "mcxahqegskwbtyfdnrljuiopv"
    matrix, places = arrange(order, row_of(SCORES)[0][order], grid)
    assert ["".join(LETTERS[n] for n in row) for row in matrix[0]] == MATRIX
    assert places[0, 0].tolist() == [3, 1, 2, 0, 4]  # a was the fourth most relevant one


def test_the_pairs_worked_by_hand() -> None:
    flat = "".join(MATRIX)
    pairs = [flat[better] + flat[other] for better, other in order_pairs(5, 5)]
    assert len(pairs) == Grid().pairs == 100
    assert " ".join(pairs[:10]) == FIRST_ROW
    assert " ".join(pairs[50:60]) == FIRST_COLUMN
    assert " ".join(pairs[90:]) == LAST_COLUMN
    slow = {
        flat[5 * i + j] + flat[5 * k + m]
        for i in range(5)
        for j in range(5)
        for k in range(5)
        for m in range(5)
        if (i == k and j < m) or (j == m and i < k)
    }
    assert set(pairs) == slow
    assert len(slow) == 100


def test_every_second_picture_is_taken() -> None:
    """Between the 25 pictures stand others, in capitals, which are taken for none of the cells."""
    letters = "".join(letter + letter.upper() for letter in LETTERS)
    between = {name.upper(): value - 0.001 for name, value in COSINES.items()}
    between["H"], between["K"] = 0.45, 0.40  # ties once more, with the next one by key
    grid = Grid(top=60, stride=3).fitted(50)
    assert grid == Grid(top=50, stride=2)
    cosines = row_of({**COSINES, **between}, letters)
    scores = row_of({**SCORES, **dict.fromkeys(between, 7.0)}, letters)
    order = best(cosines, grid.top)
    found = "".join(letters[n] for n in order[0])
    assert found[:12] == "mMcCxXaAhHqQ"
    matrix, _ = arrange(order, scores[0][order], grid)
    assert ["".join(letters[n] for n in row) for row in matrix[0]] == MATRIX


def test_the_ensemble_by_hand() -> None:
    """z of 1, 2, 3 is -1.2247, 0, 1.2247; a column of equal values counts nothing."""
    cosines, scores = np.array([[0.3, 0.2, 0.1]]), np.array([[1.0, 2.0, 3.0]])
    z = 1.224745
    assert ensemble(cosines, scores, 0.0).tolist() == [[z, 0, -z]]
    assert ensemble(cosines, scores, 1.0).tolist() == [[0, 0, 0]]
    assert ensemble(cosines, scores, 2.0).tolist() == [[-z, 0, z]]
    equal = np.full((1, 3), 0.1)
    assert ensemble(cosines, equal, 1.25).tolist() == [[z, 0, -z]]
    assert ensemble(equal, equal, 1.25).tolist() == [[0, 0, 0]]


# ---- small pools ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pictures", "stride", "rows", "columns", "pairs"),
    [
        (1000, 10, 5, 5, 100),
        (250, 10, 5, 5, 100),
        (249, 9, 5, 5, 100),
        (60, 2, 5, 5, 100),
        (49, 1, 5, 5, 100),
        (25, 1, 5, 5, 100),
        (24, 1, 4, 5, 70),
        (20, 1, 4, 5, 70),
        (19, 1, 4, 4, 48),
        (15, 1, 3, 4, 30),
        (11, 1, 3, 3, 18),
        (8, 1, 2, 3, 9),
        (5, 1, 2, 2, 4),
        (4, 1, 2, 2, 4),
    ],
)
def test_a_small_pool_shrinks_the_stride_then_the_matrix(
    pictures: int, stride: int, rows: int, columns: int, pairs: int
) -> None:
    grid = Grid().fitted(pictures)
    assert grid == Grid(min(pictures, 400), stride, rows, columns)
    assert (grid.pairs, len(order_pairs(rows, columns))) == (pairs, pairs)


def test_the_best_that_are_looked_at_shrink_it_too() -> None:
    assert Grid(top=100).fitted(1000) == Grid(top=100, stride=4)
    assert Grid(top=10).fitted(1000) == Grid(top=10, stride=1, rows=3, columns=3)


@pytest.mark.parametrize(
    ("rows", "columns", "pictures", "expected", "pairs"),
    [(15, 1, 400, (10, 15, 1), 105), (1, 15, 400, (10, 1, 15), 105), (1, 15, 6, (1, 1, 6), 15)],
)
def test_one_row_or_column_has_one_order_alone(
    rows: int, columns: int, pictures: int, expected: tuple[int, int, int], pairs: int
) -> None:
    """The paper's table 7: u = 15, v = 1, and the reverse, have 105 pairs a query."""
    grid = Grid(rows=rows, columns=columns).fitted(pictures)
    assert (grid.stride, grid.rows, grid.columns) == expected
    assert len(order_pairs(grid.rows, grid.columns)) == grid.pairs == pairs
    with pytest.raises(DataError, match="2 are needed"):
        grid.fitted(1)
    with pytest.raises(UsageError, match="one picture holds no preference"):
        Grid(rows=1, columns=1)


def test_three_pictures_are_too_few() -> None:
    with pytest.raises(DataError, match="3 pictures is too small: 4 are needed"):
        Grid().fitted(3)


# ---- a slow reference ----------------------------------------------------------------------------


def slowly(
    cosines: list[float], scores: list[float], grid: Grid, weight: float | None
) -> list[list[int]]:
    """The same, a picture at a time, in the words of the paper."""
    retrieved = sorted(range(len(cosines)), key=lambda n: (-cosines[n], n))[: grid.top]
    value = {n: scores[n] for n in retrieved}
    if weight is not None:
        both = ensemble(
            np.array([[cosines[n] for n in retrieved]]),
            np.array([[scores[n] for n in retrieved]]),
            weight,
        )
        value = dict(zip(retrieved, both[0].tolist(), strict=True))
    chosen = []
    for place, picture in enumerate(retrieved):
        if place % grid.stride == 0 and len(chosen) < grid.rows * grid.columns:
            chosen.append(picture)
    rows = [chosen[n : n + grid.columns] for n in range(0, len(chosen), grid.columns)]
    return [sorted(row, key=lambda n: -value[n]) for row in rows]


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 6)), min_size=4, max_size=90),
    st.integers(0, 2**32 - 1),
    st.integers(4, 60),
    st.integers(1, 7),
    st.tuples(st.integers(1, 6), st.integers(2, 6)),
    st.sampled_from([None, 0.0, 1.25]),
)
def test_all_queries_at_once_are_as_one_after_the_other(
    pictures: list[tuple[int, int]],
    seed: int,
    top: int,
    stride: int,
    shape: tuple[int, int],
    weight: float | None,
) -> None:
    """Few different values, so that there are ties."""
    grid = Grid(top, stride, *shape).fitted(len(pictures))
    rounded = np.array([[cosine / 10 for cosine, _ in pictures]])
    draw = np.random.default_rng(seed)
    cosines = np.concatenate([rounded, draw.permuted(rounded, axis=1), -rounded])
    scores = np.array([float(score) for _, score in pictures])
    order = best(cosines, grid.top)
    found = np.take_along_axis(cosines, order, axis=1)
    values = scores[order] if weight is None else ensemble(found, scores[order], weight)
    matrix, places = arrange(order, values, grid)
    assert matrix.shape == (3, grid.rows, grid.columns)
    for query in range(3):
        mine = matrix[query].tolist()
        assert mine == slowly(cosines[query].tolist(), scores.tolist(), grid, weight)
        assert len({n for row in mine for n in row}) == grid.cells
        assert np.array_equal(order[query][places[query]], matrix[query])


@given(st.integers(2, 7), st.integers(2, 7))
def test_the_pairs_are_all_of_all_rows_and_columns(u: int, v: int) -> None:
    cells = [[(i, j) for j in range(v)] for i in range(u)]
    expected = {pair for row in cells for pair in combinations(row, 2)}
    expected |= {pair for column in zip(*cells, strict=True) for pair in combinations(column, 2)}
    pairs = [(divmod(int(a), v), divmod(int(b), v)) for a, b in order_pairs(u, v)]
    assert set(pairs) == expected
    assert len(pairs) == len(expected) == Grid(rows=u, columns=v).pairs


def test_cosines_count_to_six_decimals() -> None:
    """What a sum in another order leaves behind does not decide: the earlier key comes first."""
    cosines = np.array([[0.1, 0.2000001, 0.2000004, 0.1999999]])
    assert best(cosines, 3).tolist() == [[1, 2, 3]]
    assert best(cosines, 4).tolist() == [[1, 2, 3, 0]]
    assert best(np.array([[0.1, 0.200001, 0.200002]]), 2).tolist() == [[2, 1]]
