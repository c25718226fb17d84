"""Features from a backbone: the `FeatureSource` that adapters and zero-shot prompts share.

Decoding and resizing run in worker threads and need no torch; the model is loaded at the first
batch, or an exported one takes its place (`models/onnx.py`). Features are float16, whether just
computed or read back from the store, so that a score does not depend on which. What a prompt gives
is kept as float32: there are few prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from imgrank.images.reading import DECODE_VERSION
from imgrank.models.spec import BackboneSpec, read_spec
from imgrank.rankers.base import Features
from imgrank.settings import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imgrank.models.backbone import Backbone
    from imgrank.models.onnx import Engine

__all__ = ["BackboneSource", "Overrides", "TextMemory", "View", "backbone_source"]

View = Literal["own", "squash", "squash-bilinear"]
"""How a picture becomes a square: as the backbone's own config says; squashed, with the backbone's
interpolation; squashed bilinearly (released ranking adapters)."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """Tensors of a checkpoint that stand in for those of its backbone: `tower.NAME` in its file.

    digest: hex sha256 of the checkpoint's weights.   image, text: which towers have such tensors.
    """

    folder: Path
    digest: str
    image: bool = False
    text: bool = False


class TextMemory(Protocol):
    """Where what the text tower said is kept between runs (the store is one)."""

    def text(self, source: str, kind: str, text: str) -> NDArray[np.float32] | None:
        """The array kept for a text, or None."""
        ...

    def put_text(self, source: str, kind: str, text: str, array: NDArray[np.float32]) -> None:
        """Keeps an array."""
        ...


class BackboneSource:
    """Pictures through one backbone; `pooled` [E], `statistics` [Ds], `grid` [P, Dg], float16.

    identity: of the image features.   text_identity: of what prompts give.
    memory: if set, what prompts gave is taken from there and kept there.
    engine: if set, runs what can be run without torch; never for a source with overrides.
    used: whether the model ran since this was last set to False; a source outlives a call.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        device: str = "auto",
        view: View = "own",
        overrides: Overrides | None = None,
        precision: Precision = "auto",
    ) -> None:
        self.spec = spec
        self.device = device
        self.precision = precision
        self.overrides = overrides
        self.resize_mode = spec.resize_mode if view == "own" else "squash"
        self.interpolation = "bilinear" if view == "squash-bilinear" else spec.interpolation
        base = f"{spec.name}:{spec.identity[:32]}"
        own = (self.resize_mode, self.interpolation) == (spec.resize_mode, spec.interpolation)
        seen = "" if own else f".{self.resize_mode}-{self.interpolation}"
        image = f".{overrides.digest[:32]}" if overrides and overrides.image else ""
        text = f".{overrides.digest[:32]}" if overrides and overrides.text else ""
        # What `auto` chooses agrees with float32; what is asked for need not, and is kept apart.
        asked = "" if precision in ("auto", "float32") else f".{precision}"
        self.identity = f"{base}.{DECODE_VERSION}{seen}{image}{asked}"
        self.text_identity = f"{base}{text}"
        self.kept = frozenset({"pooled", "grid"} | ({"statistics"} if spec.statistics else set()))
        self.memory: TextMemory | None = None
        self.engine: Engine | None = None
        self._backbone: Backbone | None = None
        self._placed = self._ran = ""
        self.used = False
        self._scale: float | None = None

    @property
    def device_note(self) -> str:
        """Where the model ran, in which precision, and why; "" if it was not used."""
        if not self.used:
            return ""
        if self._ran:
            return self._ran
        precise = self._backbone.precision_note if self._backbone else ""
        return "; ".join(filter(None, (self._placed, precise)))

    def logit_scale(self) -> float:
        """By what the model multiplies cosines before a softmax; no torch.

        Raises CheckpointError if it cannot be read.
        """
        if self._scale is None:
            from imgrank.models.checkpoint import load_logit_scale

            own = load_logit_scale(self.overrides.folder) if self.overrides else None
            self._scale = self.spec.logit_scale() if own is None else own
        return self._scale

    @property
    def batch(self) -> int:
        """That of the loaded model; 1 while none is loaded, or on ONNX Runtime."""
        return self._backbone.batch if self._backbone and not self._ran else 1

    @property
    def backbone(self) -> Backbone:
        """The model, loaded at first use."""
        self.used = True
        if self._backbone is None:
            from imgrank.models.backbone import Backbone
            from imgrank.models.checkpoint import load_overrides
            from imgrank.models.device import choose_device

            device, self._placed = choose_device(self.device)
            tensors = load_overrides(self.overrides.folder) if self.overrides else {}
            self._backbone = Backbone(self.spec.folder, device, tensors, self.precision)
        return self._backbone

    def prepare(self, data: bytes) -> NDArray[np.uint8]:
        """Bytes of a file -> uint8 [S, S, 3], decoded at about twice S where JPEG allows it."""
        from imgrank.images.decode import decode, to_input  # Pillow, numpy: not for known scores

        size, fill = self.spec.image_size, self.spec.fill_color
        return to_input(decode(data, size), size, self.interpolation, self.resize_mode, fill)

    def compute(self, prepared: Sequence[Any]) -> list[Features]:
        """uint8 [S, S, 3] each -> features of each."""
        engine = self.engine
        if engine and (found := engine.image_features(prepared)) is not None:
            self._ran, self.used = engine.note, True
            return list(found)
        self._ran = ""
        features = self.backbone.encode_images(prepared)
        if engine:
            engine.saw_images(self.backbone, prepared)
        return list(features)

    def text_embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Prompts -> [n, E], L2-normalised. The text tower is loaded only for unknown ones."""
        return self._texts("embedding", texts, lambda model, new: model.encode_text(new))

    def text_tokens(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Prompts -> [n, T, Dt], after the final LayerNorm at all positions."""
        return self._texts("tokens", texts, lambda model, new: model.text_tokens(new))

    def token_ids(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """What the text tower reads of texts, [n, T], padded to its context length T."""
        engine = self.engine
        if engine and (found := engine.token_ids(texts)) is not None:
            return found
        ids: NDArray[np.int64] = self.backbone.tokenize(texts).cpu().numpy()
        return ids

    def _texts(
        self, kind: str, texts: Sequence[str], run: Callable[[Backbone, list[str]], Any]
    ) -> NDArray[np.float32]:
        import numpy as np

        memory = self.memory  # another thread may take it away
        known: dict[str, NDArray[np.float32]] = {}
        if memory is not None:
            for text in dict.fromkeys(texts):
                if (array := memory.text(self.text_identity, kind, text)) is not None:
                    known[text] = array
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            for text, array in zip(new, self._said(kind, new, run), strict=True):
                known[text] = array
                if memory is not None:
                    memory.put_text(self.text_identity, kind, text, array)
        return np.stack([known[text] for text in texts])

    def _said(
        self, kind: str, texts: list[str], run: Callable[[Backbone, list[str]], Any]
    ) -> NDArray[np.float32]:
        """What the text tower gives, by whichever engine."""
        engine = self.engine
        if engine and (found := engine.encode(kind, texts)) is not None:
            return found
        said: NDArray[np.float32] = run(self.backbone, texts).float().cpu().numpy()
        if engine:
            engine.saw_text(self.backbone)
        return said


@lru_cache(maxsize=4)
def backbone_source(
    folder: Path,
    device: str = "auto",
    view: View = "own",
    overrides: Overrides | None = None,
    precision: Precision = "auto",
) -> BackboneSource:
    """The source of a backbone folder; one per set of arguments, so that rankers share it."""
    return BackboneSource(read_spec(folder), device, view, overrides, precision)
