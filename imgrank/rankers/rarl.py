"""Ranking by a vision-language model that looks at a window of pictures at once (RARL, paper 002).

Two kinds of folders: a checkpoint that `imgrank train rarl` or `train sft` made, which answers the
tasks of its config; and a plain Qwen2.5-VL, which is asked for anything that can be seen and was
trained to order none of it. How windows become one order is `listwise/ordering.py`.

No torch until a window is asked about that the store does not know.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import MissingExtra, UsageError
from imgrank.images.reading import DECODE_VERSION
from imgrank.instruction import Query, tasks
from imgrank.listwise.prompt import Rule, instruct, messages
from imgrank.listwise.rules import as_asked, kept, rule_of
from imgrank.models.checkpoint import RARL, identity, read_config
from imgrank.models.rarl_checkpoint import check_backbone
from imgrank.models.vlm_spec import MAX_PIXELS, VlmSpec, read_vlm
from imgrank.rankers.base import Answer, Features, Scope, Score
from imgrank.rankers.trained import prompt_of, refusal, remarks, task_of
from imgrank.settings import Precision

if TYPE_CHECKING:
    import torch

    from imgrank.models.throughput import Speed
    from imgrank.models.vlm import VisionLanguage

__all__ = ["PictureSource", "RARLRanker"]

NEW_TOKENS = 512
"""Of an answer, at most, where no checkpoint says how many; eight items are about 150."""
LARGE = 16
"""Times `max_pixels`, from which a decoded picture is made smaller: 64 may be in memory."""

WINDOWS = {"cuda": 8}
"""Windows at once by device, else one: a CPU gains nothing by more, and memory is soon short."""

IN_UNIT = frozenset({"quality", "aesthetics", "age", "decade", "count"})
"""Tasks of which a plain model is asked in the unit of tasks.toml."""

TOKENS = 300, 40, 24
"""Of a forecast: text of a prompt; of a thought; written for each picture."""
PIXELS_A_TOKEN = 28 * 28


@dataclass(frozen=True, slots=True)
class PictureSource:
    """Bytes of a file -> the picture, upright, RGB, at about the size that the model sees.

    identity: of what `prepare` gives; there are no features.
    """

    identity: str
    max_pixels: int
    kept: frozenset[str] = frozenset()
    batch: int = 1

    def prepare(self, data: bytes) -> Any:
        """A PIL image, twice the model's side at least where the file has so many pixels."""
        from imgrank.images.decode import decode  # Pillow, numpy: not for known scores

        image = decode(data, math.isqrt(self.max_pixels))
        pixels = image.width * image.height
        if pixels <= LARGE * self.max_pixels:
            return image
        shrink = math.isqrt(pixels // (LARGE // 4 * self.max_pixels))
        return image.reduce((min(shrink, image.width), min(shrink, image.height)))

    def compute(self, prepared: Sequence[Any]) -> list[Features]:
        """Raises UsageError: the model sees pictures together, none has features of its own."""
        raise UsageError("this model looks at several pictures at once and keeps no features.")


class RARLRanker:
    """A "rarl" checkpoint, or a plain "vlm" folder.

    folder: of either.   backbone: the Qwen2.5-VL that a checkpoint rests on; None: `folder` is it.
    Raises CheckpointError if either cannot be used, or the checkpoint is of another Qwen2.5-VL.
    """

    scope: Scope = "set"
    needs: frozenset[str] = frozenset()
    window = 8

    def __init__(
        self,
        folder: Path,
        backbone: Path | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        self.folder, self.device, self.precision = folder, device, precision
        self.spec: VlmSpec = read_vlm(backbone or folder)
        self.tasks: Mapping[str, Mapping[str, Any]] = {}
        self._prompts: Mapping[str, str] = {}
        self.config: Mapping[str, Any] = {}  # a checkpoint's; an evaluation looks for its data
        if backbone is None:
            self.trained = False
            self.name, self.revision = self.spec.name, self.spec.identity[:12]
            base = f"vlm:{self.spec.identity[:32]}.{MAX_PIXELS}.{NEW_TOKENS}"
        else:
            self.trained = True
            self.config = config = read_config(folder, RARL)
            check_backbone(config, self.spec, folder)
            self.name = str(config["name"])
            self.tasks = as_asked(config["tasks"])
            self._prompts = {task: str(facts["prompt"]) for task, facts in config["tasks"].items()}
            self.revision = str(config["weights"]["sha256"])[:12]
            base = identity(folder, self.spec.identity)
        model = self.config.get("model", {})
        self.max_new_tokens = int(model.get("max_new_tokens") or NEW_TOKENS)
        pixels = int(model.get("max_pixels") or MAX_PIXELS)
        # What a window takes minutes for counts on any device if its precision is left to it
        # ("auto": bfloat16 on CUDA, else float32); any that is asked for is kept apart.
        asked = "" if precision == "auto" else f".{precision}"
        self.identity = f"{base}.{DECODE_VERSION}{asked}"
        self.source = PictureSource(self.identity, pixels)
        self._model: VisionLanguage | None = None
        self._device: torch.device | None = None
        self._speed: Speed | None = None
        self._placed = ""

    # ---- what it answers -------------------------------------------------------------------------

    def answer(self, query: Query) -> Answer | None:
        """The prompt (what the model is asked), unit and range (what it is told to expect).

        None: not trained for it. Raises UsageError for what no picture shows (its file's size).
        """
        if self.trained and refusal(self.name, self.tasks, query):
            return None
        rule = self.rule(query)
        note = "a plain Qwen2.5-VL, as far as is known not trained for this: zero-shot"
        if self.trained:
            note = remarks(self.name, self.tasks[task_of(self.tasks, query) or ""], query)
        return Answer(
            method="rarl" if self.trained else "vision-language",
            model=self.name,
            revision=self.revision,
            prompt=instruct(rule),
            unit=self._unit(query),
            range=(rule.low, rule.high),
            note=note,
        )

    def rule(self, query: Query) -> Rule:
        """What the model is asked to value. Raises UsageError as `answer` does."""
        if not self.trained:
            return rule_of(query.task, query.prompt, query.subject)
        task = task_of(self.tasks, query) or ""
        facts = {**self.tasks[task], "prompt": self._prompts[task]}
        return kept(prompt_of(facts, query), facts["range"], query.subject)

    def heard(self, query: Query) -> Query:
        """The query with its number in the model's unit: "closest to 1950" is a year to it.

        Raises UsageError for a number in a unit that the model does not give.
        """
        if query.reference is None:
            return query
        if not self.trained:
            self.rule(query)  # says what no picture shows
        unit, usual = self._unit(query), tasks()[query.task].unit if query.task else ""
        if query.task == "date" and unit == "year":
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=query.reference)
            return replace(query, reference=float(moment.year))
        if unit != usual or not (self.trained or query.task in IN_UNIT):
            scale = usual or "the unit that this is measured in"
            raise UsageError(
                f"{self.name} gives no numbers in {scale}, so that it cannot tell what is "
                f"'{query.text}'. Ask for the order instead, or leave --model away."
            )
        return query

    def _unit(self, query: Query) -> str:
        if self.trained:
            return str(self.tasks[task_of(self.tasks, query) or ""].get("unit", ""))
        if query.task == "date":
            return "year"
        return tasks()[query.task].unit if query.task in IN_UNIT else ""

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """Raises UsageError: a picture alone has no score; see `ask`."""
        raise UsageError(
            f"{self.name} looks at several pictures at once, so that none has a score of its own: "
            "`imgrank sort` and `imgrank score` give their values among each other."
        )

    # ---- the model -------------------------------------------------------------------------------

    @property
    def batch(self) -> int:
        """Windows at once. Imports torch."""
        return WINDOWS.get(self._where().type, 1)

    @property
    def place(self) -> str:
        """ "this CPU", "this GPU". Imports torch."""
        return "this CPU" if self._where().type == "cpu" else "this GPU"

    @property
    def device_note(self) -> str:
        """Where the model ran, in which precision, and why; "" before it has run."""
        if self._model is None:
            return ""
        return f"{self._placed}; {str(self._model.model.dtype).removeprefix('torch.')}"

    def ask(self, windows: Sequence[Sequence[Any]], query: Query) -> list[str]:
        """What the model writes about each window, greedily, up to `</answer>`.

        windows: of pictures as `source.prepare` gives them, 1 to 8 each. Loads the model at first
        use. Raises MissingExtra without transformers, CheckpointError if it cannot be used.
        """
        if not windows:
            return []
        model, rule = self._load(), self.rule(query)
        inputs = model.inputs([(messages(rule, len(window)), window) for window in windows])
        return model.texts(model.generate(inputs, self.max_new_tokens))

    def seconds(self, pictures: int) -> float | None:
        """About how long a window takes, None on CUDA. A forecast from the model's size and how
        fast the device multiplies and reads memory just now; the model is not loaded.

        A token of the prompt costs two operations a parameter, one of a picture about twice as many
        (the vision tower sees four patches for it); a written one reads all weights once.
        """
        self._require()
        device = self._where()
        if device.type == "cuda":
            return None
        from imgrank.models.throughput import measured
        from imgrank.models.vlm import dtype_of

        dtype = dtype_of(device, self.precision)
        speed = self._speed = self._speed or measured(device, dtype)
        text, thought, item = TOKENS
        seen = pictures * self.source.max_pixels / PIXELS_A_TOKEN
        written = min(self.max_new_tokens, thought + pictures * item)
        size = self.spec.parameters
        return (
            2 * size * (text + 2 * seen) / speed.flops
            + size * dtype.itemsize * written / speed.bytes
        )

    def _where(self) -> torch.device:
        if self._device is None:
            self._require()
            from imgrank.models.device import choose_device

            self._device, self._placed = choose_device(self.device)
        return self._device

    def _load(self) -> VisionLanguage:
        if self._model is None:
            device = self._where()
            from imgrank.models.vlm import VisionLanguage

            checkpoint = self.folder if self.trained else None
            pixels = self.source.max_pixels
            where = self.spec.folder, device, self.precision
            self._model = VisionLanguage(*where, checkpoint, pixels)
        return self._model

    def _require(self) -> None:
        if importlib.util.find_spec("transformers") is None:
            raise MissingExtra(f"{self.name}, a vision-language model,", "rarl")
