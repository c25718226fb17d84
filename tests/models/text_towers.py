"""Text towers of many kinds with random weights, and the tokenizer of `tiny` for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from random_towers import VIT, config, random_model
from torch import Tensor, nn

from imgrank.models.backbone import Backbone

TEXT = {"context_length": 24, "vocab_size": 15514, "width": 32, "heads": 2, "layers": 2}
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    # text_cfg, custom_text. The tokenizer is that of `tiny`: end of text 15513, padding 0.
    "clip": (TEXT, False),
    "clip-like-vit-b-16": (TEXT | {"context_length": 77, "width": 512, "heads": 8}, False),
    "clip-no-causal-mask": (TEXT | {"no_causal_mask": True}, False),
    "custom": (TEXT | {"proj_bias": True}, True),
    "custom-no-projection": (TEXT | {"proj_type": "none"}, True),
    "custom-no-causal-mask": (TEXT | {"no_causal_mask": True}, True),
    "first": (TEXT | {"no_causal_mask": True, "pool_type": "first"}, True),
    "last": (TEXT | {"pool_type": "last"}, True),
    "end-id": (TEXT | {"pool_type": "eos", "eos_id": 15513}, True),
    "class-token": (TEXT | {"embed_cls": True}, True),
    "other-blocks": (TEXT | {"qk_norm": True, "scale_attn": True, "scale_fc": True}, True),
}


def words_of(backbone: Backbone, length: int) -> Callable[[list[str]], Tensor]:
    """The tokenizer of `tiny` at another context length; cut off as OpenCLIP does."""
    _ = backbone.tokenize([""])
    inner: Any = backbone._tokenizer
    return lambda texts: inner(texts, context_length=length)


def random_tower(kind: str) -> Any:
    text, custom = KINDS[kind]
    torch.manual_seed(0)
    model = random_model(config(VIT, text, custom_text=custom))
    part: Any = getattr(model, "text", model)
    nn.init.normal_(part.positional_embedding, std=0.3)  # so that positions matter
    nn.init.normal_(part.token_embedding.weight, std=0.5)
    return model.eval()


def parts(model: Any) -> Any:
    return getattr(model, "text", model)
