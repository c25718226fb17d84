"""From a data set with values to prompts: a few pictures, what is asked of them, the truth.

Of any set of the catalogue the training part is used, all of its queries. What a step draws depends
on (seed, stage, step) alone:

* a query, in proportion to its pictures; of a count those that show one;
* n, each of the stage's sizes as likely as another; fewer where a query has fewer pictures;
* n different pictures. A single one is drawn as the set has them; of several, a value that m
  pictures have is drawn with sqrt(m), not m: most counts are 1, and a window of equals teaches no
  order. Where all n are equal all the same, one is exchanged for a picture of another value;
* of a count, pictures that show none are a tenth at most: COCO has few others of most categories.

Values outside the rule's range (31 books of 0 to 20) are left out. Where neither the set nor the
task says a range that holds the values (a table's free text, a quality in percent), it is theirs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imgrank.data.catalogue import read
from imgrank.data.labelled import Labelled, Labels, ReadOptions, read_picture
from imgrank.errors import DataError
from imgrank.listwise.prompt import Rule, messages
from imgrank.listwise.rules import rule_of
from imgrank.models.vlm_inputs import Conversation
from imgrank.tasks import tasks

__all__ = ["Asked", "Problem", "Prompt", "check_pictures", "draw", "opened", "problem_of"]

Rows = npt.NDArray[np.intp]
Values = npt.NDArray[np.float64]
COUNT = "count"
NONE_SHOWN = 0.1  # share of pictures with a count of 0, if there are so many
DECODERS = 4  # threads
MOST_LINES = 4  # about queries


@dataclass(frozen=True, eq=False)
class Asked:
    """One query: its rule, and the pictures [N] that have a value of it, with these [N]."""

    labels: Labels
    rule: Rule
    rows: Rows
    values: Values

    @property
    def weight(self) -> int:
        """Pictures; of a count, those that show one."""
        return int(np.count_nonzero(self.values)) if self.labels.task == COUNT else len(self.rows)


@dataclass(frozen=True, eq=False)
class Problem:
    """A set and its queries.   digest: changes with whatever a run could draw.
    fold: that is the test part, of a set in folds: what an evaluation of the result looks at."""

    data: Labelled
    asked: tuple[Asked, ...]
    digest: str
    fold: int = 0

    def lines(self) -> list[str]:
        """For people: a line a query, one line where there are many."""
        name = self.data.name
        if len(self.asked) > MOST_LINES:
            pictures = len(np.unique(np.concatenate([each.rows for each in self.asked])))
            return [f"{name}: {len(self.asked)} queries of {pictures:,} pictures to train on"]
        return [
            f"{name}: {len(each.rows):,} pictures to train on, {each.rule.text}, "
            f"{each.rule.low:g} to {each.rule.high:g}"
            for each in self.asked
        ]


@dataclass(frozen=True, slots=True)
class Prompt:
    """rows: of the set's pictures, as they are shown.   values: their truth, in the rule's unit."""

    rule: Rule
    rows: tuple[int, ...]
    values: tuple[float, ...]


def problem_of(name: str, root: Path, options: ReadOptions | None = None) -> Problem:
    """The training part of a set of the catalogue. Raises as `catalogue.read`, and DataError if no
    query has two different values."""
    options = options or ReadOptions()
    data = read(name, root, options)
    left_out: list[str] = []
    found = [_asked(data, labels, left_out.append) for labels in data.labels]
    for line in left_out[:MOST_LINES]:
        options.report(line)
    if (more := len(left_out) - MOST_LINES) > 0:
        options.report(f"{data.name}: the same of {more} more queries")
    asked = tuple(each for each in found if each is not None)
    if not asked:
        raise DataError(
            f"{name}: no query has two pictures of different values in the training part, so that "
            "there is nothing to learn."
        )
    return Problem(data, asked, _digest(data, asked), options.fold)


def _asked(data: Labelled, labels: Labels, report: Callable[[str], None]) -> Asked | None:
    """None, and a report, for a query that has nothing to order."""
    rows = data.rows("train", labels)
    values = labels.values[rows].astype(np.float64)
    rule = _rule(labels, values)
    fit = (values >= rule.low) & (values <= rule.high)
    if not fit.all():
        report(
            f"{data.name}, {labels.key}: left out, with a value outside {rule.low:g} to "
            f"{rule.high:g}: {_pictures(int(np.count_nonzero(~fit)))}"
        )
    rows, values = rows[fit], values[fit]
    if len(np.unique(values)) < 2:
        report(f"{data.name}: {labels.key} is left out: its pictures have all one value")
        return None
    return Asked(labels, rule, rows, values)


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _rule(labels: Labels, values: Values) -> Rule:
    """Of a task with its usual range, unless set or values have another."""

    def ruled(ends: tuple[float, float] | None) -> Rule:
        return rule_of(labels.task, labels.prompt, labels.subject, ends, unit=labels.unit)

    rule = ruled(labels.range)
    if labels.range is not None or not len(values):
        return rule
    low, high = math.floor(values.min()), math.ceil(values.max())
    if labels.task in tasks() and rule.low <= low and high <= rule.high:
        return rule
    return ruled((low, max(high, low + 1)))


def draw(
    problem: Problem, sizes: Sequence[int], prompts: int, seed: int, stage: int, step: int
) -> list[Prompt]:
    """The prompts of a step: the same for the same (seed, stage, step), see above."""
    random = np.random.default_rng((seed, stage, step))
    weights = np.array([each.weight for each in problem.asked], dtype=np.float64)
    found = []
    for _ in range(prompts):
        asked = problem.asked[random.choice(len(weights), p=weights / weights.sum())]
        n = min(int(random.choice(sizes)), len(asked.rows))
        chosen = _window(asked, n, random)
        rows, values = asked.rows[chosen].tolist(), asked.values[chosen].tolist()
        found.append(Prompt(asked.rule, tuple(rows), tuple(values)))
    return found


def _window(asked: Asked, n: int, random: np.random.Generator) -> Rows:
    """n different places in asked.rows; of n > 1 not all have the same value."""
    p = _chances(asked, several=n > 1)
    chosen = random.choice(len(p), size=n, replace=False, p=p)
    if n > 1 and (asked.values[chosen] == asked.values[chosen[0]]).all():
        others = np.where(asked.values == asked.values[chosen[0]], 0.0, p)
        chosen[-1] = random.choice(len(p), p=others / others.sum())
    return random.permutation(chosen)


def _chances(asked: Asked, *, several: bool) -> Values:
    """[N]: how likely each picture is, sum 1."""
    levels, level, counts = np.unique(asked.values, return_inverse=True, return_counts=True)
    mass = counts.astype(np.float64)
    if several:
        mass = np.sqrt(mass)
    if asked.labels.task == COUNT and len(levels) > 1:
        none = levels == 0
        most = NONE_SHOWN / (1 - NONE_SHOWN) * mass[~none].sum()
        mass[none] = np.minimum(mass[none], most)
    p = (mass / counts)[level]
    chances: Values = p / p.sum()
    return chances


def opened(problem: Problem, prompts: Sequence[Prompt], max_pixels: int) -> list[Conversation]:
    """Each prompt as it is shown to the model; pictures decoded in threads, each once.

    Raises DataError for one that cannot be read, which names it.
    """
    rows = sorted({row for prompt in prompts for row in prompt.rows})
    with ThreadPoolExecutor(DECODERS) as threads:
        images = threads.map(lambda row: _picture(problem.data, row, max_pixels), rows)
        by_row = dict(zip(rows, images, strict=True))
    return [
        (messages(each.rule, len(each.rows)), [by_row[row] for row in each.rows])
        for each in prompts
    ]


def check_pictures(problem: Problem, max_pixels: int, report: Callable[[str], None]) -> None:
    """Decodes every picture that a run may draw, once: in the middle of a day's training a damaged
    one would be found too late.

    Raises DataError, naming some of them, if any cannot be read.
    """
    data = problem.data
    rows = np.unique(np.concatenate([each.rows for each in problem.asked])).tolist()
    if data.render is not None:
        return
    report(f"{data.name}: looking whether all {len(rows):,} pictures can be read")

    def reason(row: int) -> str:
        try:
            _picture(data, row, max_pixels)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(DECODERS) as threads:
        found = [said for said in threads.map(reason, rows) if said]
    if found:
        more = [f"and {len(found) - MOST_LINES} more"] if len(found) > MOST_LINES else []
        listed = "".join(f"\n  {said}" for said in [*found[:MOST_LINES], *more])
        raise DataError(
            f"{data.name}: {_pictures(len(found))} of {len(rows):,} cannot be read:{listed}\n"
            "Unpack the set again, or take these away and go on without them: --partial."
        )


def _picture(data: Labelled, row: int, max_pixels: int) -> Image.Image:
    """A picture for the model's processor, which scales it down to its size; not far above that
    where the file's format can be decoded so."""
    size = math.isqrt(max_pixels)
    if data.render is not None:
        return Image.fromarray(data.render(row, size))
    return read_picture(data.paths[row], size)


def _digest(data: Labelled, asked: Sequence[Asked]) -> str:
    found = hashlib.sha256(data.name.encode())
    for each in asked:
        found.update(repr((each.labels.key, each.rule)).encode())
        found.update("\0".join(data.keys[row] for row in each.rows).encode())
        found.update(each.values.tobytes())
    return found.hexdigest()
