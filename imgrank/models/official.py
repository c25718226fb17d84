"""Names and sizes of the authors' released ranking-adapter checkpoints, in our terms.

A released state dict holds the whole model: OpenCLIP's towers under OpenCLIP's names, the adapter
under `adapter.`, and the step that brings the image tower's tokens to the adapter's width, which is
the adapter's here (`grid_projection`). The parameters are ours under other names with equal values,
so the mapping is a table, read in both directions. Sizes follow from shapes; head counts do not and
are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from imgrank.errors import CheckpointError
from imgrank.models.adapter import AdapterConfig

__all__ = ["adapter_config", "adapter_name", "adapter_tensors", "official_name"]

PREFIX = "adapter."

# Official name, our name; # is a number, * any rest.
_TABLE = (
    ("visual.proj", "grid_projection.linear.weight"),  # ViT; stored the other way round
    ("visual.trunk.head.fc.*", "grid_projection.linear.*"),  # ConvNeXt; a 1 x 1 convolution
    ("visual.trunk.head.norm.*", "grid_projection.norm.*"),
    ("adapter.learnable_text_tokens", "learnable_text"),
    ("adapter.crossmodal_block.resblocks.#.*", "cross_modal.self_blocks.#.*"),
    ("adapter.crossmodal_block.cross_attn.#.*", "cross_modal.cross_blocks.#.*"),
    ("adapter.crossmodal_block.ln_final.*", "cross_modal.norm.*"),
    ("adapter.crossmodal_block.projection", "cross_modal.projection"),
    ("adapter.post_fuse_block.layers.#.*", "encoder.#.*"),
    ("adapter.reg_ln.*", "score_norm.*"),
    *((f"adapter.regressor.pre_linear_block.{i}.*", f"score_mlp.{i}.*") for i in (0, 1, 3, 4)),
    ("adapter.regressor.output_head.*", "score_mlp.6.*"),
    ("adapter.reg_tokens", "ranking.queries"),
    ("adapter.reg_token_pooler.q_proj.*", "ranking.query.*"),
    ("adapter.reg_token_pooler.ln_q.*", "ranking.query_norm.*"),
    ("adapter.reg_token_pooler.kv_proj.*", "ranking.key_value.*"),
    ("adapter.reg_token_pooler.ln_kv.*", "ranking.key_value_norm.*"),
    ("adapter.reg_token_pooler.out_proj.*", "ranking.out.*"),
    ("adapter.pair_regressor.pre_linear_block.0.*", "pair_norm.*"),
    # Its LayerNorm in front is a module of its own here.
    *(
        (f"adapter.pair_regressor.pre_linear_block.{i + 1}.*", f"pair_mlp.{i}.*")
        for i in (0, 1, 3, 4, 6, 7)
    ),
    ("adapter.pair_regressor.output_head.*", "pair_mlp.9.*"),
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
    """An official name -> ours; None if it is not a parameter of our adapter.

    >>> adapter_name("adapter.pair_regressor.pre_linear_block.4.weight")
    'pair_mlp.3.weight'
    """
    ours = _translate(official, _TABLE)
    return _in_blocks(ours, _IN_BLOCKS) if ours else None


def official_name(ours: str, vit: bool = False) -> str:
    """The inverse, for messages; a name without one is returned as it is.

    >>> official_name("cross_modal.cross_blocks.1.norm_text.bias")
    'adapter.crossmodal_block.cross_attn.1.ln_1_kv.bias'
    """
    table = [(theirs, mine) for mine, theirs in _TABLE[0 if vit else 1 :]]
    name = _in_blocks(ours, [(theirs, mine) for mine, theirs in _IN_BLOCKS])
    return _translate(name, table) or ours


def adapter_tensors(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapter's tensors of a whole official state dict, under our names, in float32.

    Raises CheckpointError listing names below `adapter.` that are not known.
    """
    tensors, unknown = {}, []
    for name, tensor in official.items():
        ours = adapter_name(name)
        if ours is not None:
            tensors[ours] = _as_ours(name, tensor.float())
        elif name.startswith(PREFIX):
            unknown.append(name)
    if unknown:
        raise CheckpointError(f"not parameters of a released adapter: {', '.join(sorted(unknown))}")
    return tensors


def adapter_config(
    shapes: Mapping[str, Iterable[int]],
    *,
    heads: int = 8,
    encoder_heads: int = 8,
    rank_heads: int = 8,
    norm_eps: float = 1e-6,
) -> AdapterConfig:
    """Shapes of an official state dict, by official name -> the adapter's config.

    heads: of the cross-modal stack; encoder_heads: of the self-attention encoder; rank_heads: of
    the ranking attention; norm_eps: of the image tower's last norm. Shapes do not tell them.
    Raises CheckpointError if the tensors that tell the sizes are missing.
    """
    try:
        relational, width = shapes["adapter.reg_tokens"]
        _, scalars = shapes["adapter.learnable_text_tokens"]
        convolution, proj = (
            list(shapes.get(name, ())) for name in ("visual.trunk.head.fc.weight", "visual.proj")
        )
        grid_width = convolution[1] if convolution else proj[0] if proj else width
    except (IndexError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"not a released ranking adapter: {error} is missing, or is of another shape"
        ) from error

    def count(pattern: str) -> int:
        found = (re.match(pattern, name) for name in shapes)
        return len({match[1] for match in found if match})

    return AdapterConfig(
        image_widths={"grid": grid_width},
        text_width=width,
        width=width,
        layers=count(r"adapter\.crossmodal_block\.resblocks\.(\d+)\."),
        encoder_layers=count(r"adapter\.post_fuse_block\.layers\.(\d+)\."),
        heads=heads,
        encoder_heads=encoder_heads,
        rank_heads=rank_heads,
        learnable_text_tokens=scalars,
        relational_tokens=relational,
        grid_projection="norm+linear" if convolution else "linear" if proj else "",
        grid_norm_eps=norm_eps,
    )


def _translate(name: str, table: Iterable[tuple[str, str]]) -> str | None:
    for source, target in table:
        pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", "(.+)")
        if match := re.fullmatch(pattern, name):
            for part in match.groups():
                target = re.sub("[#*]", part, target, count=1)
            return target
    return None


def _in_blocks(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    if name.startswith(("cross_modal.self_blocks.", "cross_modal.cross_blocks.")):
        for old, new in pairs:
            name = name.replace(old, new)
    return name


def _as_ours(official: str, tensor: Tensor) -> Tensor:
    """The two tensors of the image tower's last step as a Linear's weight [D, Dg]."""
    if official == "visual.proj":
        return tensor.T
    return tensor.flatten(1) if official == "visual.trunk.head.fc.weight" else tensor
