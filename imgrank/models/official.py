"""Names and sizes of the authors' released ranking-adapter checkpoints, in our terms.

A released state dict holds the whole model; the adapter's part is under `adapter.`. Its parameters
are ours under other names, with equal shapes, so the mapping is a table. Sizes follow from shapes;
head counts do not and are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from imgrank.errors import CheckpointError
from imgrank.models.adapter import AdapterConfig

__all__ = ["adapter_config", "adapter_name", "adapter_tensors"]

PREFIX = "adapter."

_TABLE = (
    (r"learnable_text_tokens", "learnable_text"),
    (r"crossmodal_block\.resblocks\.(\d+)\.(.+)", r"cross_modal.self_blocks.\1.\2"),
    (r"crossmodal_block\.cross_attn\.(\d+)\.(.+)", r"cross_modal.cross_blocks.\1.\2"),
    (r"crossmodal_block\.ln_final\.(.+)", r"cross_modal.norm.\1"),
    (r"crossmodal_block\.projection", "cross_modal.projection"),
    (r"post_fuse_block\.layers\.(\d+)\.(.+)", r"encoder.\1.\2"),
    (r"reg_ln\.(.+)", r"score_norm.\1"),
    (r"regressor\.pre_linear_block\.([0134])\.(.+)", r"score_mlp.\1.\2"),
    (r"regressor\.output_head\.(.+)", r"score_mlp.6.\1"),
    (r"reg_tokens", "ranking.queries"),
    (r"reg_token_pooler\.q_proj\.(.+)", r"ranking.query.\1"),
    (r"reg_token_pooler\.ln_q\.(.+)", r"ranking.query_norm.\1"),
    (r"reg_token_pooler\.kv_proj\.(.+)", r"ranking.key_value.\1"),
    (r"reg_token_pooler\.ln_kv\.(.+)", r"ranking.key_value_norm.\1"),
    (r"reg_token_pooler\.out_proj\.(.+)", r"ranking.out.\1"),
    (r"pair_regressor\.pre_linear_block\.0\.(.+)", r"pair_norm.\1"),
    (r"pair_regressor\.output_head\.(.+)", r"pair_mlp.9.\1"),
)
_IN_BLOCKS = (
    (".ln_1_kv.", ".norm_text."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".attn.", ".attention."),
    (".mlp.c_fc.", ".mlp.0."),
    (".mlp.c_proj.", ".mlp.2."),
)


def adapter_name(official: str) -> str | None:
    """The official name of an adapter parameter -> ours; None if there is no such parameter.

    >>> adapter_name("adapter.pair_regressor.pre_linear_block.4.weight")
    'pair_mlp.3.weight'
    """
    name = official.removeprefix(PREFIX)
    if name == official:
        return None
    pair = re.fullmatch(r"pair_regressor\.pre_linear_block\.([124578])\.(.+)", name)
    if pair:  # its LayerNorm in front is a module of its own here
        return f"pair_mlp.{int(pair[1]) - 1}.{pair[2]}"
    for pattern, ours in _TABLE:
        if re.fullmatch(pattern, name):
            renamed = re.sub(pattern, ours, name)
            if renamed.startswith("cross_modal."):
                for old, new in _IN_BLOCKS:
                    renamed = renamed.replace(old, new)
            return renamed
    return None


def adapter_tensors(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapter's tensors of a whole official state dict, under our names, in float32.

    Raises CheckpointError listing adapter parameters that are not known.
    """
    tensors, unknown = {}, []
    for name, tensor in official.items():
        if not name.startswith(PREFIX):
            continue
        ours = adapter_name(name)
        if ours is None:
            unknown.append(name)
        else:
            tensors[ours] = tensor.float()
    if unknown:
        raise CheckpointError(f"not parameters of a released adapter: {', '.join(sorted(unknown))}")
    return tensors


def adapter_config(
    shapes: Mapping[str, Iterable[int]], *, heads: int = 8, encoder_heads: int = 8
) -> AdapterConfig:
    """Shapes of an official state dict, by official name -> the adapter's config.

    heads: of the cross-modal stack and of the ranking attention; encoder_heads: of the
    self-attention encoder. Shapes do not tell them.
    Raises CheckpointError if the tensors that tell the sizes are missing.
    """
    try:
        relational, width = shapes["adapter.reg_tokens"]
        _, scalars = shapes["adapter.learnable_text_tokens"]
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"not a released ranking adapter: {error} is missing") from error

    def count(pattern: str) -> int:
        found = (re.match(pattern, name) for name in shapes)
        return len({match[1] for match in found if match})

    return AdapterConfig(
        image_widths={"grid": width},
        text_width=width,
        width=width,
        layers=count(r"adapter\.crossmodal_block\.resblocks\.(\d+)\."),
        encoder_layers=count(r"adapter\.post_fuse_block\.layers\.(\d+)\."),
        heads=heads,
        encoder_heads=encoder_heads,
        rank_heads=heads,
        learnable_text_tokens=scalars,
        relational_tokens=relational,
    )
