"""The store, opened for one run: what a sort and an evaluation both do before they score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgrank.rankers.base import FeatureSource
from imgrank.rankers.source import BackboneSource
from imgrank.settings import Settings
from imgrank.store.store import Store

if TYPE_CHECKING:
    from imgrank.models.onnx import Engine

__all__ = ["open_store"]

Notify = Callable[[str], None]


@contextmanager
def open_store(
    settings: Settings, sources: Sequence[FeatureSource], notify: Notify
) -> Iterator[Store]:
    """The store, in which the sources remember what prompts gave; and what they run on.

    notify: hears of a cache that was set aside, of an engine that cannot be used.
    """
    backbones = [source for source in sources if isinstance(source, BackboneSource)]
    engines = [_engine(source, settings, notify) for source in backbones]
    budget = settings.feature_budget
    with Store(settings.store_path, feature_budget=budget, notify=notify) as store:
        for source, engine in zip(backbones, engines, strict=True):
            source.memory, source.engine, source.used = store, engine, False
        try:
            yield store
        finally:
            for source in backbones:
                source.memory = source.engine = None


def _engine(source: BackboneSource, settings: Settings, notify: Notify) -> Engine | None:
    """Runs a source's models without torch where that is as good; an exported one is the plain
    backbone's, in float32."""
    if settings.engine == "torch" or source.overrides:
        return None
    from imgrank.models.onnx import open_engine

    plain = settings.precision in ("auto", "float32")
    return open_engine(
        settings.cache_dir, source.spec, settings.engine, source.device, plain, notify
    )
