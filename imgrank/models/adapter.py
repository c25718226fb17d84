"""The ranking adapter: image tokens and an instruction's text tokens -> a score, a pair logit.

Paper: Ranking-aware adapter for text-driven image ordering (ICLR 2025). This is the architecture
of the authors' released checkpoints, not of the paper's text where the two differ; the paper's
variants are fields of `AdapterConfig`.

    tokens in    one LayerNorm, one Linear and a type embedding per image source, one LayerNorm and
                 one Linear for the text; none of these where a source already has width D. Released
                 checkpoints bring a projection of the grid instead (`grid_projection`)
    encoder      L x (pre-norm self-attention block, pre-norm cross-attention block on the text),
                 LayerNorm, a D x D' matrix, L' post-norm self-attention layers -> z'
    score        LayerNorm, sum over tokens, MLP -> s. Looks at one image alone.
    pair logit   ranking-aware attention (`ranking_attention.py`), MLP -> o_ij, "i above j"

S learnable text tokens are scalars, each broadcast over the width and put before the text.
The text tokens are used at all positions, padding included: there is no padding mask.
Shapes: B images, P tokens, T text positions, D width, M relational tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from imgrank.errors import CheckpointError
from imgrank.models.attention import Block, EncoderLayer
from imgrank.models.checkpoint import load_tensors, read_config
from imgrank.models.ranking_attention import (
    DifferenceOfTokens,
    Fusion,
    OverTokens,
    RankingAttention,
    SelfRankingAttention,
    Summary,
)

__all__ = ["Adapter", "AdapterConfig", "load_adapter"]

SAID = 300  # characters of torch's own words in an error
RankHead = Literal["attention", "self-attention", "tokens", "none"]
Projection = Literal["", "linear", "norm+linear"]


@dataclass(frozen=True)
class AdapterConfig:
    """Everything that shapes an adapter; the defaults are those of the released checkpoints."""

    image_widths: Mapping[str, int] = field(default_factory=lambda: {"grid": 768})
    """Width of each image source, in the order in which their tokens are joined."""
    text_width: int = 768
    width: int = 768  # D
    width_encoded: int | None = None  # D'; None: D. The paper's text has 512
    layers: int = 2  # L of the cross-modal stack
    encoder_layers: int = 2  # L' of the post-norm self-attention encoder
    heads: int = 8
    encoder_heads: int = 8
    rank_heads: int = 8
    learnable_text_tokens: int = 32  # S
    relational_tokens: int = 16  # M; table 10 has 1, 4, 9, 16
    rank_head: RankHead = "attention"  # table 5: "none", "tokens"; table 6: "self-attention"
    rank_fusion: Fusion = "difference"  # table 6: "merged", "concatenation"
    over_tokens: OverTokens = "sum"  # eq. 3: "mean"
    dropout: float = 0.1  # of the post-norm encoder
    source_dropout: float = 0.0  # of image tokens of another width, behind their LayerNorm
    grid_projection: Projection = ""
    """How a released checkpoint brings the grid to width D: "linear" without bias (ViT towers),
    "norm+linear" with one (ConvNeXt). The features kept are those in front of it."""
    grid_norm_eps: float = 1e-6  # of that norm: the tower's own

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AdapterConfig:
        """The `model` part of a checkpoint's config. Raises TypeError on an unknown field."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `config.json`; the grid's projection only where there is one."""
        values = {**asdict(self), "image_widths": dict(self.image_widths)}
        if not self.grid_projection:
            del values["grid_projection"], values["grid_norm_eps"]
        return values


class Source(nn.Module):
    """Tokens of another width -> width D: LayerNorm, Linear and, for images, a type embedding."""

    def __init__(self, width_in: int, width: int, typed: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width_in)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width_in, width)
        self.kind = nn.Parameter(torch.randn(width) * width**-0.5) if typed else None

    def forward(self, tokens: Tensor) -> Tensor:
        out = cast(Tensor, self.linear(self.dropout(self.norm(tokens))))
        return out if self.kind is None else out + self.kind


class GridProjection(nn.Module):
    """The image tower's own last step in a released model: [B, P, Dg] -> [B, P, D]."""

    def __init__(self, width_in: int, width: int, config: AdapterConfig) -> None:
        super().__init__()
        normed = config.grid_projection == "norm+linear"
        self.norm = nn.LayerNorm(width_in, eps=config.grid_norm_eps) if normed else None
        self.linear = nn.Linear(width_in, width, bias=normed)

    def forward(self, grid: Tensor) -> Tensor:
        return cast(Tensor, self.linear(grid if self.norm is None else self.norm(grid)))


class CrossModal(nn.Module):
    """L times (self-attention block, cross-attention block), LayerNorm, D x D' without bias."""

    def __init__(self, width: int, width_out: int, heads: int, layers: int) -> None:
        super().__init__()
        self.self_blocks = nn.ModuleList(Block(width, heads, cross=False) for _ in range(layers))
        self.cross_blocks = nn.ModuleList(Block(width, heads, cross=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, width_out) * width**-0.5)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:  # [B, P, D], [B or 1, S+T, D]
        for own, cross in zip(self.self_blocks, self.cross_blocks, strict=True):
            x = cross(own(x), text)
        return cast(Tensor, self.norm(x) @ self.projection)


def _mlp(width_in: int, width: int, blocks: int) -> nn.Sequential:
    """`blocks` times (Linear, LayerNorm, ReLU), then Linear -> 1."""
    layers: list[nn.Module] = []
    for index in range(blocks):
        first = width_in if index == 0 else width
        layers += [nn.Linear(first, width), nn.LayerNorm(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


class Adapter(nn.Module):
    """See the module's text. All inputs and outputs are float tensors on one device."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        D = config.width
        E = config.width_encoded or D  # D'
        self.grid_projection = None
        projected = "grid" if config.grid_projection else None
        if projected:
            self.grid_projection = GridProjection(config.image_widths[projected], D, config)
        self.image_sources = nn.ModuleDict(
            {
                name: Source(width, D, True, config.source_dropout)
                for name, width in config.image_widths.items()
                if width != D and name != projected
            }
        )
        self.text_source = None if config.text_width == D else Source(config.text_width, D, False)
        self.learnable_text = nn.Parameter(torch.randn(1, config.learnable_text_tokens) * 0.02)
        self.cross_modal = CrossModal(D, E, config.heads, config.layers)
        self.encoder = nn.ModuleList(
            EncoderLayer(E, config.encoder_heads, config.dropout)
            for _ in range(config.encoder_layers)
        )
        self.score_norm = nn.LayerNorm(E)
        self.score_mlp = _mlp(E, E, blocks=2)
        self.ranking = _ranking(config, E)
        if self.ranking is not None:
            pair = self.ranking.width_out
            self.pair_norm = nn.LayerNorm(pair)
            self.pair_mlp = _mlp(pair, E, blocks=3)

    def join_images(self, image_tokens: Mapping[str, Tensor]) -> Tensor:
        """{source: [B, P_s, D_s]} -> [B, P, D], sources in the order of the config.

        Raises ValueError if a source of the config is missing.
        """
        missing = [name for name in self.config.image_widths if name not in image_tokens]
        if missing:
            raise ValueError(f"image tokens lack {', '.join(missing)}; got {list(image_tokens)}")
        return torch.cat(
            [self._of_source(name, image_tokens[name]) for name in self.config.image_widths], dim=1
        )

    def _of_source(self, name: str, tokens: Tensor) -> Tensor:
        """[B, P_s, D_s] of one source -> [B, P_s, D]."""
        if name in self.image_sources:
            return cast(Tensor, self.image_sources[name](tokens))
        if name == "grid" and self.grid_projection is not None:
            return cast(Tensor, self.grid_projection(tokens))
        return tokens

    def join_text(self, text_tokens: Tensor) -> Tensor:
        """[T, Dt] (one instruction for all) -> [1, S + T, D]; [B, T, Dt] -> [B, S + T, D]."""
        text = text_tokens if self.text_source is None else self.text_source(text_tokens)
        text = text if text.ndim == 3 else text[None]
        scalars = self.learnable_text[..., None].expand(len(text), -1, text.shape[-1])
        return torch.cat((scalars, text), dim=1)

    def encode(self, image_tokens: Mapping[str, Tensor], text_tokens: Tensor) -> Tensor:
        """Image tokens {source: [B, P_s, D_s]}, text [T, Dt] or [B, T, Dt] -> z' [B, P, D']."""
        x = self.join_images(image_tokens)
        z: Tensor = self.cross_modal(x, self.join_text(text_tokens))
        for layer in self.encoder:
            z = layer(z)
        return z

    def scores(self, z: Tensor) -> Tensor:
        """z' [B, P, D'] -> regression scores [B], each from its own image alone."""
        return cast(Tensor, self.score_mlp(self.score_norm(z).sum(1))).squeeze(-1)

    def summarise(self, z: Tensor) -> Summary:
        """z' [B, P, D'] -> what the pair logits need of each image: tensors with B in front."""
        return self._ranking_head().summarise(z)

    def pair_logits_of(self, first: Summary, second: Summary) -> Tensor:
        """Summaries of A and of B images -> o [A, B]; o[i, j] > 0 says "i above j"."""
        fused = self._ranking_head().fuse(first, second)
        return cast(Tensor, self.pair_mlp(self.pair_norm(fused))).squeeze(-1)

    def pair_logits(self, z: Tensor) -> Tensor:
        """z' [B, P, D'] -> o [B, B] of all pairs, an image with itself included."""
        summary = self.summarise(z)
        return self.pair_logits_of(summary, summary)

    def pair_logit(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """z' of two images, [P, D'] each -> antisymmetric logit (o_ab - o_ba)/2, a scalar.

        Its sigmoid is the probability that a is above b.
        """
        o = self.pair_logits(torch.stack((z_a, z_b)))
        return (o[0, 1] - o[1, 0]) / 2

    def forward(
        self, image_tokens: Mapping[str, Tensor], text_tokens: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Scores [B] and pair logits [B, B] (None without a ranking head)."""
        z = self.encode(image_tokens, text_tokens)
        return self.scores(z), None if self.ranking is None else self.pair_logits(z)

    def _ranking_head(self) -> RankingAttention | SelfRankingAttention | DifferenceOfTokens:
        if self.ranking is None:
            raise ValueError("this adapter has no ranking head (rank_head is 'none')")
        return self.ranking


def load_adapter(folder: Path) -> Adapter:
    """The adapter of a checkpoint folder, float32 on the CPU, in evaluation mode.

    Raises CheckpointError if the folder is damaged or its tensors do not fit its config.
    """
    model, tensors = read_config(folder, "adapter")["model"], load_tensors(folder)
    try:
        with torch.device("meta"):  # sizes that are wrong take no memory
            adapter = Adapter(AdapterConfig.from_dict(model))
        own = {name: tensor.clone() for name, tensor in tensors.items()}  # not the mapped file
        adapter.load_state_dict(own, assign=True)
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        said = shorten(str(error), SAID, placeholder=" ...")
        raise CheckpointError(
            f"the tensors of {folder} do not fit its config, or this imgrank does not know what "
            f"it asks for: {said}. Upgrade imgrank or fetch the checkpoint again."
        ) from error
    return adapter.eval()


def _ranking(
    config: AdapterConfig, width: int
) -> RankingAttention | SelfRankingAttention | DifferenceOfTokens | None:
    match config.rank_head:
        case "attention":
            return RankingAttention(
                width,
                config.relational_tokens,
                config.rank_heads,
                config.rank_fusion,
                config.over_tokens,
            )
        case "self-attention":
            return SelfRankingAttention(
                width, config.rank_heads, config.rank_fusion, config.over_tokens
            )
        case "tokens":
            return DifferenceOfTokens(width, config.over_tokens)
        case "none":
            return None
