"""From the sources of a recipe to queries that batches are drawn for, checked before any work.

A `Stream` is one source: its data set, where its image tokens come from, and its queries as they
are trained (`Asked`): with the recipe's prompt, unit and range, and the training rows to draw from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imgrank.data import catalogue
from imgrank.data.attributes import with_attributes
from imgrank.data.features import Pictures
from imgrank.data.labelled import Labelled, Labels, ReadOptions
from imgrank.data.tokens import Tokens, by_percent, make_room
from imgrank.errors import DataError, UsageError
from imgrank.models.backbone import Backbone
from imgrank.train import sampling
from imgrank.train.adapter_recipe import Config, Source, Task
from imgrank.train.live import LivePictures
from imgrank.train.processes import ALONE, Processes

__all__ = [
    "Asked",
    "Batch",
    "Stream",
    "all_prompts",
    "draw",
    "read_streams",
    "stream_of",
    "with_pictures",
]

RELATIVE = "sort images by closeness to {n} {subject}."  # paper, appendix B.1
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """A query as it is trained. labels: with the recipe's prompt, unit and range.

    task: its offset and scale of the targets.   pool: the training rows to draw from.
    """

    labels: Labels
    task: Task
    pool: sampling.Pool

    def targets(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """What the regression head is to answer for these rows."""
        return (self.labels.values[rows] - np.float32(self.task.offset)) / np.float32(
            self.task.scale
        )


@dataclass(frozen=True, eq=False)
class Stream:
    """A source that is ready. pictures: its image tokens, None until they are made."""

    source: Source
    data: Labelled
    asked: tuple[Asked, ...]
    pictures: Pictures | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """What one step trains on: one prompt, rows of one data set [B] and their targets [B].

    near: n of "closeness to n", None for a query as it is.
    """

    stream: Stream
    asked: Asked
    prompt: str
    rows: npt.NDArray[np.intp]
    targets: npt.NDArray[np.float32]
    near: int | None = None

    def asks(self) -> dict[str, str]:
        """What a log says of it."""
        data, key = self.stream.data.name, self.asked.labels.key
        several = len(self.stream.asked) > 1 or self.near is not None
        near = "" if self.near is None else f", closeness to {self.near}"
        return {"data": data, **({"query": key + near} if several else {})}

    def pairs(self, device: torch.device) -> Tensor | None:
        """Which pairs are ranked [B, B]: those of one group, or None for all."""
        if not self.stream.source.within:
            return None
        groups = np.asarray(self.stream.data.groups)[self.rows]
        group = torch.from_numpy(np.unique(groups, return_inverse=True)[1]).to(device)
        return group[:, None] == group[None]


def draw(streams: Sequence[Stream], batch: int, seed: int, step: int) -> Batch:
    """The batch of a step; everything random depends on (seed, step) alone."""
    stream = streams[sampling.choose_source([s.source.share for s in streams], seed, step)]
    asked = stream.asked[sampling.choose_query(len(stream.asked), seed, step)]
    rows = sampling.draw_rows(asked.pool, batch, seed, step)
    source, labels = stream.source, asked.labels
    near = sampling.relative_to(source.relative, source.relative_to, seed, step)
    if near is None:
        return Batch(stream, asked, labels.prompt, rows, asked.targets(rows))
    distance = np.abs(labels.values[rows] - near) / np.float32(asked.task.scale)
    prompt = _relative_prompt(near, labels)
    return Batch(stream, asked, prompt, rows, (-distance).astype(np.float32), near)


def all_prompts(streams: Sequence[Stream]) -> list[str]:
    """Every prompt that `draw` may give, each once."""
    prompts = []
    for stream in streams:
        most = stream.source.relative_to if stream.source.relative else -1
        for asked in stream.asked:
            prompts.append(asked.labels.prompt)
            prompts += [_relative_prompt(n, asked.labels) for n in range(most + 1)]
    return list(dict.fromkeys(prompts))


def read_streams(
    config: Config,
    root: Path,
    partial: bool,
    report: Report,
    cache: Path,
    processes: Processes = ALONE,
) -> list[Stream]:
    """The recipe's sources, read and checked; no picture is opened but for `attributes`.

    cache: folder where those are kept.   Raises UsageError if the recipe does not fit the data
    sets or has too few pictures for so many processes, DataError if a set is wrong or incomplete.
    """
    streams, known = [], dict[tuple[str, int, bool], Labelled]()
    for source in config.sources:
        catalogue.reader(source.data)  # all names first: reading may take a while
    for source in config.sources:
        key = (source.data, source.fold, source.attributes)
        if key not in known:
            options = ReadOptions(source.fold, partial, report)
            known[key] = catalogue.read(source.data, root, options)
            if source.attributes:
                known[key] = _with_attributes(known[key], cache, report, processes)
        streams.append(stream_of(source, known[key], config.tasks, report))
    _check_tasks(config, streams)
    least = min(len(asked.pool.rows) for stream in streams for asked in stream.asked)
    if min(least, config.batch) < processes.count:
        raise UsageError(f"{processes.count} processes are too many for batches this small.")
    return streams


def _with_attributes(data: Labelled, cache: Path, report: Report, processes: Processes) -> Labelled:
    """Measured by the first process, read by the others."""
    return processes.in_turn(lambda: with_attributes(data, cache, by_percent(report)))


def stream_of(
    source: Source, data: Labelled, tasks: Mapping[str, Task], report: Report = lambda line: None
) -> Stream:
    """One source with the queries that can be trained: those with two different values or more.

    Raises UsageError for queries that the data set does not have, and for `groups` or `relative`
    that it cannot serve; DataError if nothing of it can be trained.
    """
    keys = [labels.key for labels in data.labels]
    if unknown := [key for key in source.queries if key not in keys]:
        raise UsageError(f"{data.name} has no query {', '.join(unknown)}; it has {_few(keys)}.")
    asked, left_out = [], []
    for labels in data.labels:
        if source.queries and labels.key not in source.queries:
            continue
        values = labels.values[data.rows("train", labels)]
        if len(np.unique(values)) < 2:
            left_out.append(labels.key)
            continue
        if source.relative and not labels.subject:
            raise UsageError(f"relative is for counts, and {data.name}'s {labels.key} is none.")
        task = tasks.get(labels.task, Task())
        pool = sampling.make_pool(data, labels, source.value_step, source.negatives, source.groups)
        _check_groups(source, pool)
        asked.append(Asked(_as_trained(labels, task), task, pool))
    if not asked:
        raise DataError(f"{data.name} has no query with two pictures of different value to train.")
    if left_out:
        report(f"{data.name}: not trained, for lack of different values: {_few(left_out)}")
    return Stream(source, data, tuple(asked))


def with_pictures(
    config: Config,
    streams: Sequence[Stream],
    tower: Backbone,
    cache: Path,
    report: Report,
    processes: Processes = ALONE,
) -> list[Stream]:
    """The streams with their image tokens: made anew for each batch, or computed now and kept.

    Raises DataError if they do not fit on the disk, or if a picture cannot be read.
    """
    sets = {id(stream.data): stream.data for stream in streams}
    made: dict[int, Pictures] = {}
    if config.features == "pictures":
        made |= {key: LivePictures(data, tower, config.tokens) for key, data in sets.items()}
    else:
        tokens = Tokens(cache, tower, by_percent(report), config.tokens)
        if processes.first:
            own = {data.name: data for data in sets.values()}.values()
            make_room(tokens, list(own), report)
            made |= {key: tokens.of(data) for key, data in sets.items()}
        processes.wait()
        made = made or {key: tokens.of(data) for key, data in sets.items()}
    return [replace(stream, pictures=made[id(stream.data)]) for stream in streams]


def _as_trained(labels: Labels, task: Task) -> Labels:
    prompt = labels.prompt if task.prompt is None else task.prompt.replace("{}", labels.subject)
    unit = labels.unit if task.unit is None else task.unit
    return replace(labels, prompt=prompt, unit=unit, range=task.range or labels.range)


def _check_groups(source: Source, pool: sampling.Pool) -> None:
    if pool.members is not None and source.groups > pool.members.max() + 1:
        raise UsageError(
            f"groups = {source.groups}: {source.data} has only {pool.members.max() + 1} to train "
            "on."
        )


def _check_tasks(config: Config, streams: Sequence[Stream]) -> None:
    """A task has one prompt (but for its subject) and one unit, whatever trains it."""
    found: dict[str, set[tuple[str, str]]] = {}
    for stream in streams:
        for asked in stream.asked:
            labels = asked.labels
            prompt = labels.prompt
            if labels.subject:
                prompt = prompt.replace(labels.subject, "{}")
            found.setdefault(labels.task, set()).add((prompt, labels.unit))
    for task, said in found.items():
        if len(said) > 1:
            ways = "; ".join(f"'{prompt}' in {unit or 'no unit'}" for prompt, unit in sorted(said))
            raise UsageError(
                f"the data sets ask for {task} in several ways ({ways}). Give it one: "
                f"[tasks.{task}] prompt, unit."
            )
    if unknown := sorted(set(config.tasks) - set(found)):
        raise UsageError(f"[tasks]: no data set of this recipe has {', '.join(unknown)}.")


def _relative_prompt(n: int, labels: Labels) -> str:
    return RELATIVE.format(n=n, subject=labels.subject)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
