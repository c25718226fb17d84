"""How far the probabilities of a model with ranks can be trusted, and what makes them so.

`fit_calibration` looks at pictures that were not trained on and chooses

* the temperature T of the smallest mean -log p of the true rank, p = softmax(logits / T);
* the `tail` of the interval of `rankers/levels.py`, the largest whose interval holds the label of
  ceil((n + 1) level) of the n pictures;
* the `mass` of the set of likeliest ranks, the smallest whose set holds the true rank of so many of
  them that sets of that mass hold less than `level` of all such pictures only with a probability of
  1 - SURE; and never below `level`.

The interval is split conformal prediction (Vovk, Gammerman, Shafer 2005): it holds the label of a
new picture that is drawn like those n with a probability of at least `level`, whatever the model;
n + 1 counts the new one. That is a mean over many choices of the n, and half of these fall short.
Of few ranks and few pictures a set is off by a whole rank or not at all, and is told as "at least";
so it takes the bound that holds for SURE of all choices (Vovk 2012, conditional validity). T is
fitted on the same n pictures, which costs next to nothing: it is one number.

The other functions measure. p [N, M]: calibrated probabilities. labels [N]: in the task's unit.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgrank.evaluate.metrics import require_scipy
from imgrank.models.ranks import Ranks
from imgrank.rankers.levels import Calibration, chosen, interval, softmax

__all__ = [
    "BINS",
    "coverage",
    "ece",
    "fit_calibration",
    "inside",
    "mean_set_size",
    "ordinality_score",
    "set_coverage",
    "top_bins",
]

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
HOTTEST = 100.0  # temperatures from 1 / HOTTEST to HOTTEST are tried
NARROWEST = 0.4999  # tails up to which an interval is an interval
WIDEST = 1e-6
BINS = 15
SURE = 0.9


def fit_calibration(
    logits: npt.ArrayLike, labels: npt.ArrayLike, ranks: Ranks, on: str, level: float = 0.8
) -> Calibration:
    """Temperature, tail and mass of held-out pictures; see the top of this module.

    logits: scale x cosine [N, M], before any temperature.   labels: [N], in the task's unit.
    on: which pictures, for people.   level: 0 < level < 1.
    Where even the widest interval does not hold so many (of very few pictures), it is the widest;
    so with the set.
    Raises ValueError for no picture, a label that is none, or shapes that do not fit; MissingExtra
    without scipy.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if not len(y) or z.shape != (len(y), len(ranks)) or not np.isfinite(y).all():
        raise ValueError(f"logits {z.shape} and labels {y.shape} of {len(ranks)} ranks do not fit")
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, {level} does not")
    true = ranks.of(y)
    temperature = _temperature(z, true)
    p = softmax(z / temperature)
    least = math.ceil((len(y) + 1) * level)
    return Calibration(
        temperature=temperature,
        tail=_tail(p, y, ranks, least),
        mass=max(_mass(p, true, _enough(len(y), level)), level),
        level=level,
        on=on,
    )


def coverage(p: Matrix, labels: npt.ArrayLike, ranks: Ranks, tail: float) -> float:
    """Share of the labels that lie in their picture's interval, ends included."""
    return float(inside(p, np.asarray(labels, dtype=np.float64), ranks, tail).mean())


def inside(
    p: Matrix, labels: npt.NDArray[np.floating], ranks: Ranks, tail: float
) -> npt.NDArray[np.bool_]:
    """Which labels [N] lie in their picture's interval, ends included.

    An interval that ends at the first or last rank's value is open there: that rank has all labels
    beyond (`Ranks.of`), and no interval reaches further.
    """
    low, high = interval(p, ranks, tail)
    y = np.clip(labels, ranks.values[0], ranks.values[-1])
    found: npt.NDArray[np.bool_] = (low <= y) & (y <= high)
    return found


def set_coverage(p: Matrix, true: npt.NDArray[np.intp], mass: float) -> float:
    """Share of the true ranks [N], 0..M-1, that are in their picture's set."""
    return float(chosen(p, mass)[np.arange(len(true)), true].mean())


def mean_set_size(p: Matrix, mass: float) -> float:
    """Ranks in the set of a picture, the mean: 1 to M."""
    return float(chosen(p, mass).sum(axis=1).mean())


def ece(p: Matrix, true: npt.NDArray[np.intp], bins: int = BINS) -> float:
    """Expected calibration error of the top probability, 0 to 1.

    sum_b n_b / N |accuracy_b - mean top probability_b| over bins of equal width, (0, 1/bins],
    (1/bins, 2/bins], ... (Guo et al. 2017, equation 5).   true: ranks [N].
    """
    number, gap = top_bins(p, true, bins)
    return float(np.abs(np.bincount(number, weights=gap, minlength=bins)).sum() / len(p))


def top_bins(
    p: Matrix, true: npt.NDArray[np.intp], bins: int = BINS
) -> tuple[npt.NDArray[np.intp], Vector]:
    """Of each picture the bin [N] of its top probability, and 1 or 0 (right or wrong) less it."""
    top = p.max(axis=1)
    number = np.clip(np.ceil(top * bins).astype(np.intp) - 1, 0, bins - 1)
    return number, (p.argmax(axis=1) == true) - top


def ordinality_score(r: npt.ArrayLike) -> float:
    """Share of neighbouring pairs of rank embeddings r [M, E] that keep the order, 0 to 100.

    OS = 100 sum_{i=1..M} sum_{j=i..M-1} [s_ij > s_i,j+1] / (M (M - 1) / 2), s_ij = r_i^T r_j of
    L2-normalised embeddings (paper 000, footnote of section 4.2).
    """
    embeddings = np.asarray(r, dtype=np.float64)
    embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    s = embeddings @ embeddings.T
    falls = s[:, :-1] > s[:, 1:]  # [i, j]: s_ij > s_i,j+1
    pairs = len(s) * (len(s) - 1) / 2
    return float(100 * np.triu(falls).sum() / pairs)


def _temperature(logits: Matrix, true: npt.NDArray[np.intp]) -> float:
    require_scipy("calibrating a model")
    from scipy.optimize import minimize_scalar

    highest = logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(true)), true] - highest[:, 0]

    def loss(log_t: float) -> float:
        t = math.exp(log_t)
        return float((np.log(np.exp((logits - highest) / t).sum(axis=1)) - own / t).mean())

    end = math.log(HOTTEST)
    found = minimize_scalar(loss, bounds=(-end, end), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(found.x))


def _tail(p: Matrix, labels: Vector, ranks: Ranks, least: int) -> float:
    """The largest tail whose intervals hold `least` labels; intervals of smaller ones hold more."""
    low, high = WIDEST, NARROWEST
    if inside(p, labels, ranks, high).sum() >= least:
        return high
    if inside(p, labels, ranks, low).sum() < least:
        return low
    while high - low > 1e-6:
        middle = (low + high) / 2
        held = inside(p, labels, ranks, middle).sum() >= least
        low, high = (middle, high) if held else (low, middle)
    return low


def _enough(n: int, level: float) -> int:
    """The least number r such that of n pictures fewer than r are held with a probability of at
    least SURE, if each is with that of `level`; n + 1 if there is none."""
    stats = require_scipy("calibrating a model")
    return int(stats.binom.ppf(SURE, n, level)) + 1


def _mass(p: Matrix, true: npt.NDArray[np.intp], least: int) -> float:
    """The smallest mass whose sets hold the true rank of `least` pictures.

    A rank is in the set if the likelier ones together stay below the mass.
    """
    if least > len(true):
        return 1.0
    order = np.argsort(-p, axis=1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=1)
    before = np.cumsum(sorted_p, axis=1) - sorted_p
    place = (order == true[:, None]).argmax(axis=1)
    needed = np.sort(before[np.arange(len(true)), place])
    return float(min(1.0, max(0.0, needed[least - 1]) + 1e-9))
