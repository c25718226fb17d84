"""Which ranker answers a query: the router of the command line and of the API. No torch.

1. a property that can be measured exactly (brightness, date taken, ...);
2. a checkpoint trained for the task: the user's default (`[models]` in config.toml), else the
   embedded one;
3. words on a CLIP-like model: zero-shot, and named so.

A model that the user names answers by itself, or refuses.
"""

from __future__ import annotations

from dataclasses import replace

from imgrank.errors import ModelUnavailable, UsageError
from imgrank.instruction import Query
from imgrank.models.registry import DEFAULT_BACKBONE, Entry, entries, find
from imgrank.rankers.adapter import AdapterRanker
from imgrank.rankers.base import Job, Ranker
from imgrank.rankers.measured import HEADER, PIXELS
from imgrank.rankers.prompts import PromptRanker
from imgrank.rankers.source import BackboneSource, backbone_source
from imgrank.settings import Settings, load_settings

__all__ = ["load_ranker", "load_source", "route"]


def route(query: Query, settings: Settings, model: str | None = None) -> Job:
    """The job that answers `query`. Raises ModelUnavailable or UsageError if `model` cannot."""
    model = model or settings.model
    if model is not None:
        return _job(query, load_ranker(model, settings))
    for ranker in (HEADER, PIXELS):
        if ranker.answer(query):
            return _job(query, ranker)
    chosen = settings.model_for(query.task) or _embedded_for(query) or DEFAULT_BACKBONE
    return _job(query, load_ranker(chosen, settings))


def load_ranker(name: str, settings: Settings | None = None) -> Ranker:
    """A ranker by the name of a model, or by the path of its folder.

    A backbone gives zero-shot answers by words. Raises ModelUnavailable if there is no such model,
    CheckpointError if its folder cannot be used.
    """
    settings = settings or load_settings()
    entry = find(name, settings.models_dir)
    if entry.kind == "backbone":
        return PromptRanker(backbone_source(entry.folder, settings.device))
    if entry.kind == "adapter":
        return AdapterRanker(entry.folder, _backbone_of(entry, settings))
    raise ModelUnavailable(f"'{name}' is of a kind this version cannot run: {entry.kind}.")


def load_source(name: str | None, settings: Settings) -> BackboneSource:
    """The backbone that `imgrank index` fills the store for: of a model, or the embedded one."""
    entry = find(name or DEFAULT_BACKBONE, settings.models_dir)
    if entry.kind == "backbone":
        return backbone_source(entry.folder, settings.device)
    return _backbone_of(entry, settings)


def _backbone_of(entry: Entry, settings: Settings) -> BackboneSource:
    backbone = find(str(entry.config["backbone"]["name"]), settings.models_dir)
    return backbone_source(backbone.folder, settings.device)


def _embedded_for(query: Query) -> str | None:
    return next((entry.name for entry in entries() if query.task in entry.tasks), None)


def _job(query: Query, ranker: Ranker) -> Job:
    answer = ranker.answer(query)
    if answer is None:
        known = ", ".join(sorted(getattr(ranker, "tasks", ()))) or "nothing else"
        raise UsageError(f"{ranker.name} was not trained for '{query.text}'; it knows {known}.")
    if answer.method == "zero-shot" and query.reference is not None:
        # A similarity counts nothing: "closest to 3 dogs" becomes how well the words fit.
        query = replace(query, reference=None, descending=True)
    return Job(query, ranker, answer)
