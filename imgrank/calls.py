"""What every call of `api.py` and `estimates/` shares: options, pictures, who answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imgrank.images import ImageFile, Skip
from imgrank.images.scan import scan
from imgrank.pipeline import Progress
from imgrank.rankers.base import FeatureSource, Job, Ranker
from imgrank.results.ranking import Column
from imgrank.saying import announced
from imgrank.settings import Settings

__all__ = ["Notify", "Options", "PathLike", "column_of", "pictures_of", "say", "say_device"]

PathLike = str | os.PathLike[str]
Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What all commands share.

    model: name or folder of who answers.  listed: paths from a list; a missing one is a skip.
    leave_out: a folder that is not looked into on the way (what is sorted goes there).
    notify: hears notices (which model answers, a cache set aside).
    slow: whether to go on where a model of billions of parameters would take more than a minute on
    this device; a function is asked, with a forecast.
    """

    model: str | None = None
    listed: Sequence[Path] = ()
    include_hidden: bool = False
    exclude: Sequence[str] = ()
    leave_out: Path | None = None
    settings: Settings | None = None
    notify: Notify = field(default=lambda text: None)
    progress: Progress | None = None
    slow: bool | Callable[[str], bool] = False


def pictures_of(
    paths: PathLike | Iterable[PathLike], options: Options
) -> tuple[list[ImageFile], list[Skip]]:
    """What there is at these paths, and what of it cannot be read, as the options say."""
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = list(
        scan(
            map(Path, named),
            listed=options.listed,
            include_hidden=options.include_hidden,
            exclude=options.exclude,
            leave_out=options.leave_out,
            left_out=lambda path: options.notify(
                f"{path} is left out of the order, since the pictures go there"
            ),
        )
    )
    files = [item for item in found if isinstance(item, ImageFile)]
    return files, [item for item in found if isinstance(item, Skip)]


def column_of(job: Job) -> Column:
    """What the scores of a job are of, as every output names it."""
    answer = job.answer
    return Column.of(
        replace(job.query, reference=None) if answer.closeness else job.query,
        method=answer.method,
        model=answer.model,
        revision=answer.revision,
        prompt=answer.prompt,
        unit=answer.unit,
        range=answer.range,
    )


def say(options: Options, jobs: Sequence[Job]) -> None:
    """Who answers, and what a user should know of that."""
    for job in jobs:
        for line in announced(job):
            options.notify(line)


def say_device(options: Options, model: FeatureSource | Ranker) -> None:
    """Where the model ran and why; nothing if none was loaded."""
    if note := getattr(model, "device_note", ""):
        options.notify(f"ran on {note}")
