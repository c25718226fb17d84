"""`imgrank cache`: what is kept between runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.errors import UsageError

if TYPE_CHECKING:
    from imgrank.models.onnx import Export
    from imgrank.store.store import Store
    from imgrank.vectors.upkeep import Mirrored

EXAMPLES = """\b
Examples:
  imgrank cache info
  imgrank cache prune
"""
INFO_EXAMPLES = """\b
Examples:
  imgrank cache info
  imgrank cache info --json
"""
PRUNE_EXAMPLES = """\b
Examples:
  imgrank cache prune
  imgrank cache prune --days 30
"""
CLEAR_EXAMPLES = """\b
Examples:
  imgrank cache clear --yes
  imgrank cache info
"""


@click.group(epilog=EXAMPLES)
def cache() -> None:
    """Show or trim what is kept between runs: scores, features, exported models; no pictures."""


@cache.command(epilog=INFO_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(as_json: bool) -> None:
    """Show where the cache is, how large it is and what it holds."""
    with _store() as store:
        found = store.info()
    towers, vectors = _exports(), _mirrors()
    if as_json:
        facts = {field.name: _plain(getattr(found, field.name)) for field in fields(found)}
        facts["exports"] = [{n: _plain(v) for n, v in t._asdict().items()} for t in towers]
        facts["vectors"] = [_plain(mirror) for mirror in vectors]
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{found.path}")
    click.echo(f"{found.file_bytes / 1e6:.1f} MB, {found.files} files, {found.pictures} pictures")
    for score in found.scores:
        click.echo(f"{score.scores} scores for {score.prompts} prompts: {score.ranker}")
    for feature in found.features:
        size = f"{feature.bytes / 1e6:.1f} MB"
        click.echo(f"{feature.arrays} {feature.name} ({size}): {feature.source}")
    for text in found.texts:
        size = f"{text.bytes / 1e6:.1f} MB"
        click.echo(f"{text.texts} prompts, {text.kind} ({size}): {text.source}")
    for answer in found.answers:
        size = f"{answer.bytes / 1e6:.1f} MB"
        click.echo(f"{answer.answers} answers, {answer.kind} ({size}): {answer.source}")
    click.echo(
        f"token maps use {found.evictable_bytes / 1e6:.1f} of {found.feature_budget / 1e6:.0f} MB"
    )
    for mirror in vectors:
        index = f", {mirror.of_index / 1e6:.1f} MB of it an index" if mirror.of_index else ""
        size = f"{mirror.bytes / 1e6:.1f} MB"
        click.echo(f"{mirror.embeddings} embeddings for search ({size}{index}): {mirror.source}")
    for tower in towers:
        note = f"; {tower.note}" if tower.note else "" if tower.current else "; of other versions"
        size = f"{tower.bytes / 1e6:.1f} MB"
        click.echo(f"{tower.tower} tower for ONNX Runtime ({size}): {tower.model}{note}")
    for path in found.set_aside:
        click.echo(f"set aside as damaged: {path}")


@cache.command(epilog=PRUNE_EXAMPLES)
@click.option(
    "--days",
    type=click.IntRange(0),
    help="Also features not used, and prompts kept, for so many days.",
)
@click.option(
    "--gone-folders",
    is_flag=True,
    help="Also files whose whole folder is gone, as on a disk that is not plugged in.",
)
def prune(days: int | None, gone_folders: bool) -> None:
    """Drop what belongs to files that are gone, and give the space back to the disk."""
    from imgrank.vectors import upkeep

    with _store() as store:
        freed = store.prune(unused_days=days, gone_folders=gone_folders)
        vectors = upkeep.prune(_vectors_dir(), store)
    size = freed.bytes + vectors + _remove(tower for tower in _exports() if not tower.current)
    click.echo(
        f"dropped {freed.files} files, {freed.scores} scores, {freed.features} features, "
        f"{freed.texts} prompts; freed {size / 1e6:.1f} MB",
        err=True,
    )


@cache.command(epilog=CLEAR_EXAMPLES)
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(yes: bool) -> int:
    """Forget all scores, features, exports and answers of language models.

    Pictures are not touched; all is made again, and asked again, when it is needed.
    """
    try:
        if not yes and not click.confirm("Forget all scores, features and answers?", err=True):
            return 1
    except click.Abort:
        raise UsageError("nothing was forgotten. --yes answers beforehand.") from None
    from imgrank.vectors import upkeep

    with _store() as store:
        freed = store.clear() + _remove(_exports()) + upkeep.clear(_vectors_dir())
    click.echo(f"the cache is empty; freed {freed / 1e6:.1f} MB", err=True)
    return 0


def _vectors_dir() -> Path:
    from imgrank.settings import load_settings

    return load_settings().vectors_dir


def _mirrors() -> list[Mirrored]:
    from imgrank.vectors import upkeep

    return upkeep.mirrored(_vectors_dir())


def _exports() -> list[Export]:
    from imgrank.models.onnx import exports
    from imgrank.settings import load_settings

    return exports(load_settings().cache_dir)


def _remove(towers: Iterable[Export]) -> int:
    size = 0
    for tower in towers:
        shutil.rmtree(tower.folder, ignore_errors=True)
        size += tower.bytes
    return size


def _plain(value: Any) -> Any:
    """Paths and named tuples as JSON has them."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return value._asdict() if hasattr(value, "_asdict") else [_plain(v) for v in value]
    return value


def _store() -> Store:
    from imgrank.settings import load_settings
    from imgrank.store.store import Store

    settings = load_settings()
    return Store(
        settings.store_path,
        feature_budget=settings.feature_budget,
        notify=lambda text: click.echo(text, err=True),
    )
