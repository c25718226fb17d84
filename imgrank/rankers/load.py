"""Which ranker answers a query: the router of the command line and of the API. No torch.

0. the model that the user names (`--model`): it answers by itself, or refuses; `rarl:NAME` is the
   model NAME, which then must be one that looks at several pictures at once;
1. the user's default for the task (`[models]` in config.toml);
2. a property that can be measured exactly (brightness, date taken, ...);
3. a checkpoint trained for the task, of a count for what is counted (`trained.py`): the user's
   default (`[models] default`, or `IMGRANK_MODEL`), else an embedded one; of several that were
   trained for the same, the one that registry.toml names by measured figures;
4. words on a CLIP-like model, the user's default if it is one: zero-shot, and named so. A tuned
   one ("retrieval") is asked only if the user has chosen it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from imgrank.errors import CheckpointError, ModelUnavailable, UsageError
from imgrank.instruction import Query, tasks
from imgrank.models.checkpoint import RARL, RETRIEVAL
from imgrank.models.defaults import check_keys
from imgrank.models.registry import (
    DEFAULT_BACKBONE,
    DETECTOR,
    VLM,
    Entry,
    answering,
    entries,
    find,
)
from imgrank.models.resting import backbone_by_digest, way_to
from imgrank.models.spec import read_spec
from imgrank.rankers.adapter import AdapterRanker
from imgrank.rankers.base import Job, Ranker, SetRanker
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.linear import LinearRanker
from imgrank.rankers.measured import HEADER, PIXELS
from imgrank.rankers.prompts import PromptRanker
from imgrank.rankers.source import BackboneSource, Overrides, View, backbone_source
from imgrank.rankers.trained import refusal, trained_for
from imgrank.settings import Settings, load_settings

__all__ = ["load_levels", "load_ranker", "load_source", "route", "sharing", "users_default"]


def route(query: Query, settings: Settings, model: str | None = None) -> Job:
    """The job that answers `query`. Raises ModelUnavailable or UsageError if `model` cannot."""
    check_keys(settings)
    chosen = model or settings.models.get(query.task or "")
    if chosen is None:
        for ranker in (HEADER, PIXELS):
            if ranker.answer(query):
                return _job(query, ranker)
        chosen = _default_for(query, settings)
    return _job(query, load_ranker(chosen, settings))


def sharing(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, all of one checkpoint with the same ranker: its tensors are loaded once."""
    rankers: dict[str, Ranker] = {}
    return [
        replace(job, ranker=rankers.setdefault(job.ranker.identity, job.ranker)) for job in jobs
    ]


def load_ranker(name: str, settings: Settings | None = None) -> Ranker:
    """A ranker by the name of a model, or by the path of its folder.

    A backbone gives zero-shot answers by words, and so does one that was tuned for search.
    Raises ModelUnavailable if there is no such model, CheckpointError if its folder cannot be used.
    """
    settings = settings or load_settings()
    entry = _answering(name, settings)
    if entry.kind == "backbone":
        return PromptRanker(
            backbone_source(entry.folder, settings.device, precision=settings.precision)
        )
    if entry.kind == "adapter":
        return AdapterRanker(entry.folder, _backbone_of(entry, settings))
    if entry.kind == "linear":
        return LinearRanker(entry.folder, _backbone_of(entry, settings))
    if entry.kind == "l2rclip":
        return _levels_of(entry, settings)
    if entry.kind == RETRIEVAL:
        return PromptRanker(_backbone_of(entry, settings), entry.folder)
    if entry.kind in (RARL, VLM):
        from imgrank.rankers.rarl import RARLRanker  # no other sort waits for what it needs

        backbone = _vlm_of(entry, settings) if entry.kind == RARL else None
        return RARLRanker(entry.folder, backbone, settings.device, settings.precision)
    raise ModelUnavailable(f"'{name}' is of a kind this version cannot run: {entry.kind}.")


def _answering(name: str, settings: Settings) -> Entry:
    entry = find(name, settings.models_dir)
    if entry.kind == DETECTOR:
        raise UsageError(
            f"{name} finds faces and answers nothing itself: `imgrank age` uses it without being "
            "asked. Leave --model away, or name another model (imgrank models list)."
        )
    return entry


def load_levels(task: str, settings: Settings, model: str | None = None) -> L2RCLIPRanker:
    """The checkpoint that gives a probability to each rank of a task ("age", "decade", ...).

    The one that is named; else the user's default for the task or for everything, if it has ranks
    of it; else the embedded one.
    Raises ModelUnavailable if there is none or `model` is not here, UsageError if `model` has no
    ranks of the task.
    """
    check_keys(settings)
    if model is not None:
        entry = find(model, settings.models_dir)
        if entry.kind != "l2rclip" or task not in entry.tasks:
            has = f"is of kind {entry.kind}" if entry.kind != "l2rclip" else "knows other tasks"
            raise UsageError(
                f"{model} gives no probabilities of {task} levels (it {has}): name a checkpoint "
                f"that `imgrank train l2rclip` made for {task}, or leave --model away."
            )
        return _levels_of(entry, settings)
    wish = settings.models.get(task)
    own = [find(wish, settings.models_dir) if wish else None, users_default(settings)]
    for entry in [*filter(None, own), *entries()]:
        if entry.kind == "l2rclip" and task in entry.tasks:
            return _levels_of(entry, settings)
    raise ModelUnavailable(
        f"no model here gives probabilities of {task} levels. Name one with --model; "
        "`imgrank train l2rclip` trains one."
    )


def _levels_of(entry: Entry, settings: Settings) -> L2RCLIPRanker:
    return L2RCLIPRanker(entry.folder, _backbone_of(entry, settings))


def load_source(name: str | None, settings: Settings) -> BackboneSource:
    """The backbone that `imgrank index` fills the store for: of a model, or the embedded one."""
    entry = _answering(name or DEFAULT_BACKBONE, settings)
    if entry.kind in (RARL, VLM):
        raise UsageError(
            f"{entry.name} looks at several pictures at once and makes no features of one, so "
            "there is nothing to keep beforehand. `imgrank sort` keeps what it answers."
        )
    if entry.kind == "backbone":
        return backbone_source(entry.folder, settings.device, precision=settings.precision)
    return _backbone_of(entry, settings)


def _backbone_of(entry: Entry, settings: Settings) -> BackboneSource:
    """The backbone that a checkpoint names; its digest decides, its name only helps people."""
    name = str(entry.config["backbone"]["name"])
    digest = str(entry.config["backbone"]["digest"]).removeprefix("sha256:")
    for folder in _backbones(name, settings):
        if read_spec(folder).identity == digest:
            return _source_of(entry, folder, settings)
    raise CheckpointError(
        f"'{entry.name}' was trained on backbone '{name}', and no backbone here has its digest. "
        f"Get it: {way_to(entry)}"
    )


def _vlm_of(entry: Entry, settings: Settings) -> Path:
    """The folder of the Qwen2.5-VL that a checkpoint rests on: by digest, as above."""
    facts = entry.config["backbone"]
    folder = backbone_by_digest(str(facts["digest"]), settings, VLM)
    if folder is None:
        raise CheckpointError(
            f"'{entry.name}' was trained on '{facts['name']}', and no Qwen2.5-VL here has its "
            f"digest. Get it: {way_to(entry)}"
        )
    return folder


def _source_of(entry: Entry, folder: Path, settings: Settings) -> BackboneSource:
    """The backbone as the checkpoint sees it: its view of a picture, its tensors in place of some.

    A view that is the backbone's own is named so, that all its rankers share one source.
    """
    facts, spec = entry.config["backbone"], read_spec(folder)
    view = next(iter(facts.get("views", ())), "squash")
    if view not in get_args(View):
        raise CheckpointError(f"'{entry.name}' needs the view {view!r}. Upgrade imgrank.")
    squashed = "bilinear" if view == "squash-bilinear" else spec.interpolation
    if (spec.resize_mode, spec.interpolation) == ("squash", squashed):
        view = "own"
    replaced = facts.get("replaced", ())
    overrides = None
    if replaced:
        digest = str(entry.config["weights"]["sha256"])
        overrides = Overrides(entry.folder, digest, "image" in replaced, "text" in replaced)
    return backbone_source(folder, settings.device, view, overrides, settings.precision)


def _backbones(name: str, settings: Settings) -> Iterator[Path]:
    """Folders of backbones, the one of that name first: to look at another may mean to hash it."""
    with suppress(ModelUnavailable, CheckpointError):
        named = find(name, settings.models_dir)
        if named.kind == "backbone":
            yield named.folder
    yield from (e.folder for e in entries(settings.models_dir) if e.kind == "backbone")


def users_default(settings: Settings) -> Entry | None:
    """The user's model for what no other table of the settings names."""
    try:
        return find(settings.model, settings.models_dir) if settings.model else None
    except ModelUnavailable as error:
        raise ModelUnavailable(
            f"{error} It is your default (IMGRANK_MODEL, or [models] default in "
            f"{settings.config}); to drop it there: imgrank models default --unset"
        ) from error


def _default_for(query: Query, settings: Settings) -> str:
    own = users_default(settings)
    trained = [entry.name for entry in entries() if trained_for(entry.tasks, query)]
    chosen = answering().get(query.task or "")
    if settings.model and own and trained_for(_tasks_of(own), query):
        return settings.model
    if trained:
        return chosen if chosen in trained else trained[0]
    by_words = own is not None and (own.by_words or own.kind == VLM)
    return settings.model if settings.model and by_words else DEFAULT_BACKBONE


def _tasks_of(entry: Entry) -> Mapping[str, Any]:
    if entry.kind != RARL:
        return entry.tasks
    from imgrank.listwise.rules import as_asked  # its own words are kept as a rule

    return as_asked(entry.tasks)


def _job(query: Query, ranker: Ranker) -> Job:
    if query.reference is not None and isinstance(ranker, PromptRanker):
        query = _without_reference(query)
    elif ranker.scope == "set":
        query = cast(SetRanker, ranker).heard(query)
    answer = ranker.answer(query)
    if answer is None:
        raise UsageError(refusal(ranker.name, getattr(ranker, "tasks", {}), query))
    return Job(query, ranker, answer)


def _without_reference(query: Query) -> Query:
    """ "closest to 3 dogs" for a model that counts nothing: how well "3 dogs" fits.

    A task with ranks ("closest to 30 years") keeps its number: words give one too.
    Raises ModelUnavailable for what has neither ("closest to 12 megapixels").
    """
    if query.task and tasks()[query.task].ranks:
        return query
    if query.task != "count":
        raise ModelUnavailable(
            f"'{query.text}' needs a model that was trained to give numbers, and none is here for "
            f"{query.task}. Ask for the order instead, or name a model with --model."
        )
    return replace(query, subject=f"{query.reference:g} {query.subject}", reference=None)
