"""Ranking by a trained adapter (`models/adapter.py`) on a frozen backbone.

The prompt of a task may hold `{}`: there goes what the query is about ("cats", of a count), in the
words that were trained with. Several tasks and subjects are several prompts on the same features.
`sort` and `score` read the regression head, which looks at one picture alone; `compare` reads
the pairwise head, made antisymmetric: sigmoid((o_ab - o_ba) / 2), and so does `strengths`, of all
pairs among many pictures (`refine.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError, UsageError
from imgrank.instruction import Query
from imgrank.models.checkpoint import identity, read_config
from imgrank.rankers.base import Answer, Features, Scope, Score
from imgrank.rankers.source import BackboneSource
from imgrank.rankers.trained import (
    by_closeness,
    check_backbone,
    in_unit,
    prompt_of,
    refusal,
    remarks,
    task_of,
)

if TYPE_CHECKING:
    import torch

    from imgrank.models.adapter import Adapter

__all__ = ["AdapterRanker"]

WIDE = 512
"""Width D from which one batch is worth torch's own threads; a narrow adapter is quicker alone."""


class AdapterRanker:
    """An adapter checkpoint; answers the tasks that its config lists.

    Raises CheckpointError if the checkpoint was trained on another backbone than the one given.
    """

    scope: Scope = "image"

    def __init__(self, folder: Path, source: BackboneSource) -> None:
        self.folder = folder
        self.config = read_config(folder, "adapter")
        self.source = source
        self.name = str(self.config["name"])
        self.identity = identity(folder, source.identity)
        self.needs = frozenset(self.config["model"]["image_widths"])
        self.tasks: Mapping[str, Mapping[str, Any]] = self.config["tasks"]
        self.pairwise = self.config["model"].get("rank_head", "attention") != "none"
        check_backbone(folder, self.config, source.spec)
        self._adapter: Adapter | None = None
        self._placed: torch.device | None = None
        self._text: dict[str, torch.Tensor] = {}

    def answer(self, query: Query) -> Answer | None:
        """The task's prompt, unit and range; None if `trained.refusal` says why it cannot.

        A count of what it was not trained to count has an answer, with a note that says so.
        """
        if refusal(self.name, self.tasks, query):
            return None
        task = self._facts(query)
        closeness = by_closeness(task, query)
        ends = None if closeness else task.get("range")
        return Answer(
            method="adapter",
            model=self.name,
            revision=str(self.config["weights"]["sha256"])[:12],
            prompt=self._prompt(query),
            unit=task["unit"],
            range=(ends[0], ends[1]) if ends else None,
            note=remarks(self.name, task, query),
            closeness=closeness,
        )

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """[picture][query] -> score of the regression head, in the task's unit."""
        import torch

        if not features:
            return []
        for query in queries:
            if task_of(self.tasks, query) is None:
                raise UsageError(f"{self.name} was not trained for '{query.text}'.")
        adapter, tokens = self._load(), self._tokens(features)
        texts = [self._text_tokens(q) for q in queries]  # may load a text tower, on all threads
        with torch.inference_mode(), self._threads():
            heads = [adapter.scores(adapter.encode(tokens, text)) for text in texts]
        scales = [in_unit(self._facts(query), query) for query in queries]
        columns = [
            (offset + scale * head).tolist() if (offset, scale) != (0, 1) else head.tolist()
            for head, (offset, scale) in zip(heads, scales, strict=True)
        ]
        self._check(value for column in columns for value in column)
        return [[Score(value) for value in row] for row in zip(*columns, strict=True)]

    def compare(self, first: Features, second: Features, query: Query) -> float | None:
        """Probability that the first has the higher score; None without a pairwise head."""
        import torch

        adapter = self._load()
        if adapter.config.rank_head == "none":
            return None
        with torch.inference_mode():
            z = adapter.encode(self._tokens([first, second]), self._text_tokens(query))
            probability = float(torch.sigmoid(adapter.pair_logit(z[0], z[1])))
        self._check([probability])
        return probability

    def strengths(self, chunks: Iterable[Sequence[Features]], query: Query) -> list[float]:
        """The mean probability of each picture to score higher than another one of them.

        chunks: the features of all of them, some at a time. Raises UsageError if this model has no
        pairwise head.
        """
        import torch

        from imgrank.rankers.refine import win_shares

        if not self.pairwise:
            raise UsageError(f"{self.name} has no pairwise head.")
        adapter, text = self._load(), self._text_tokens(query)
        with torch.inference_mode(), self._threads():
            summaries = [adapter.summarise(adapter.encode(self._tokens(f), text)) for f in chunks]
            shares = [float(share) for share in win_shares(adapter, summaries)]
        self._check(shares)
        return shares

    def _check(self, values: Iterable[float]) -> None:
        """Raises CheckpointError unless all are finite: others would be taken for no property."""
        if not all(map(math.isfinite, values)):
            raise CheckpointError(
                f"{self.name} gives scores that are no numbers: features of the backbone "
                f"{self.source.spec.name} went out of float16's range, or weights are damaged. Run "
                f"`imgrank models verify {self.name}`."
            )

    def _prompt(self, query: Query) -> str:
        return prompt_of(self._facts(query), query)

    def _facts(self, query: Query) -> Mapping[str, Any]:
        """Of the task that answers it; see `answer`."""
        return self.tasks[task_of(self.tasks, query) or ""]

    def _load(self) -> Adapter:
        if self._adapter is None:
            from imgrank.models.adapter import load_adapter

            self._adapter = load_adapter(self.folder).to(self._device)
        return self._adapter

    def _threads(self) -> AbstractContextManager[None]:
        from imgrank.models.device import one_thread

        return one_thread() if self._load().config.width < WIDE else nullcontext()

    @property
    def _device(self) -> torch.device:
        """That of the backbone, which need not be loaded where all features are known."""
        if self._placed is None:
            from imgrank.models.device import choose_device

            self._placed, _ = choose_device(self.source.device)
        return self._placed

    def _tokens(self, features: Sequence[Features]) -> dict[str, torch.Tensor]:
        """{source: [B, P_s, D_s]}; a vector such as the statistics becomes one token."""
        import numpy as np
        import torch

        tokens = {}
        for name in self.needs:
            array = np.stack([f[name] for f in features]).astype(np.float32)
            tokens[name] = torch.from_numpy(array if array.ndim == 3 else array[:, None])
            tokens[name] = tokens[name].to(self._device)
        return tokens

    def _text_tokens(self, query: Query) -> torch.Tensor:
        import torch

        prompt = self._prompt(query)
        if prompt not in self._text:
            tokens = torch.from_numpy(self.source.text_tokens([prompt])[0])
            self._text[prompt] = tokens.to(self._device)
        return self._text[prompt]
