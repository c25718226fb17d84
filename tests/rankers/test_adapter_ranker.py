"""The adapter's ranker: what it needs loaded, and in what it computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from imgrank.instruction import parse
from imgrank.models.registry import EMBEDDED
from imgrank.rankers import source as sources
from imgrank.rankers.adapter import AdapterRanker
from imgrank.rankers.source import BackboneSource

PHOTO = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))[0]
QUALITY = parse("by image quality")


class Remembered:
    """A memory that knows every text."""

    def __init__(self, tokens: NDArray[np.float32]) -> None:
        self.tokens = tokens

    def text(self, source: str, kind: str, text: str) -> NDArray[np.float32]:
        return self.tokens

    def put_text(self, *_: Any) -> None:
        raise AssertionError("nothing new was computed")


def test_known_features_and_text_load_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.backbone_source(EMBEDDED / "tiny", "cpu")
    ranker = AdapterRanker(EMBEDDED / "tiny-quality", source)
    answer = ranker.answer(QUALITY)
    assert answer is not None
    features = source.compute([source.prepare(PHOTO.read_bytes())])
    source.memory = memory = Remembered(source.text_tokens([answer.prompt])[0])
    expected = ranker.score(features, [QUALITY])
    source.memory = None

    remembering = BackboneSource(source.spec, "cpu")
    remembering.memory = memory
    monkeypatch.setattr(
        BackboneSource, "backbone", property(lambda _: pytest.fail("the backbone was loaded"))
    )
    again = AdapterRanker(EMBEDDED / "tiny-quality", remembering)
    assert again.score(features, [QUALITY]) == expected
    assert again.compare(features[0], features[0], QUALITY) == 0.5
