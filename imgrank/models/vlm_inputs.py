"""Conversations with pictures -> the tensors that a Qwen2.5-VL reads, and rows taken out of these.

The processor turns each picture into a grid of patches and each place of a picture in the text into
as many placeholder tokens as the grid has merged patches. All patches of a batch lie one after
another in `pixel_values`, whatever row they belong to, so that rows with different numbers of
pictures fit together.

    input_ids, attention_mask     [B, P]   padded on the left
    mm_token_type_ids             [B, P]   0 text, 1 picture; not by the first transformers 5
    pixel_values                  [patches of all pictures, values of a patch]
    image_grid_thw                [pictures, 3]   patches in time (1), height and width
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from imgrank.models.vlm_spec import MAX_PIXELS

__all__ = ["Conversation", "extended", "inputs_of", "take"]

Conversation = tuple[Sequence[Mapping[str, Any]], Sequence[Image.Image]]
"""Messages of a chat and its pictures (RGB), in the order in which the messages name them."""

NARROWEST = 100
"""Long side over short side above which a picture is widened: the processor refuses more than 200,
and such a strip shows nothing anyway."""
_BY_PICTURE = ("pixel_values", "image_grid_thw")


def inputs_of(
    processor: Any,
    conversations: Sequence[Conversation],
    max_pixels: int = MAX_PIXELS,
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """The batch on the device, ready for an answer; see the top of this module.

    max_pixels: of each picture; the folder's own limit holds where it is lower.
    Raises ValueError if there is no conversation, or if the messages of one name another number of
    pictures than it brings.
    """
    if not conversations:
        raise ValueError("no conversation")
    for messages, images in conversations:
        named = sum(_pictures(message.get("content")) for message in messages)
        if named != len(images):
            raise ValueError(f"the messages name {named} pictures, there are {len(images)}")
    texts = [
        processor.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        for messages, _ in conversations
    ]
    images = [_wide_enough(image) for _, images in conversations for image in images]
    own = processor.image_processor.size
    longest = min(max_pixels, int(own["longest_edge"]))
    size = {"shortest_edge": min(int(own["shortest_edge"]), longest), "longest_edge": longest}
    batch = processor(
        text=texts,
        images=images or None,
        images_kwargs={"size": size},
        text_kwargs={"padding": True, "padding_side": "left"},
        common_kwargs={"return_tensors": "pt"},
    )
    return {name: value.to(device) for name, value in batch.items() if isinstance(value, Tensor)}


def take(
    inputs: Mapping[str, Tensor], rows: Sequence[int], placeholder: int, merge: int = 2
) -> dict[str, Tensor]:
    """Some rows of a batch, in this order; a row may be taken several times: [0] * 8 is a group of
    eight answers to one prompt. Columns that are then padding in all rows fall away.

    placeholder: id of the token that stands for a piece of a picture.
    merge: patches a side that become one such token (the image processor's `merge_size`).
    """
    index = torch.tensor(list(rows), device=inputs["input_ids"].device)
    mask = inputs["attention_mask"][index]
    first = int(mask.any(0).long().argmax())
    found = {
        name: value[index][:, first:]
        for name, value in inputs.items()
        if name not in _BY_PICTURE and value.shape[:1] == inputs["input_ids"].shape[:1]
    }
    if "image_grid_thw" not in inputs:
        return found
    grids: Tensor = inputs["image_grid_thw"]
    patches = torch.split(inputs["pixel_values"], grids.prod(-1).tolist())
    own = _pictures_of_rows(inputs, placeholder, merge)
    wanted = [picture for row in rows for picture in own[row]]
    if wanted:
        found["image_grid_thw"] = grids[torch.tensor(wanted, device=grids.device)]
        found["pixel_values"] = torch.cat([patches[picture] for picture in wanted])
    return found


def extended(inputs: Mapping[str, Tensor], completions: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """The batch with answers behind the prompts.

    completions: token ids [B, T].   mask [B, T]: which of them are part of the answer.
    """
    ids, attention = inputs["input_ids"], inputs["attention_mask"]
    found = dict(inputs)
    found["input_ids"] = torch.cat([ids, completions.to(ids)], 1)
    found["attention_mask"] = torch.cat([attention, mask.to(attention)], 1)
    if (kinds := inputs.get("mm_token_type_ids")) is not None:
        found["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(completions).to(kinds)], 1)
    return found


def _pictures(content: Any) -> int:
    if isinstance(content, str) or content is None:
        return 0
    return sum(part.get("type") == "image" for part in content)


def _pictures_of_rows(inputs: Mapping[str, Tensor], placeholder: int, merge: int) -> list[range]:
    """Which pictures belong to each row: as many as fill its placeholder tokens."""
    tokens = (inputs["image_grid_thw"].prod(-1) // merge**2).tolist()
    places = (inputs["input_ids"] == placeholder).sum(-1).tolist()
    found, picture = [], 0
    for count in places:
        first = picture
        while count > 0:
            count -= tokens[picture]
            picture += 1
        found.append(range(first, picture))
    return found


def _wide_enough(image: Image.Image) -> Image.Image:
    width, height = image.size
    least = -(-max(width, height) // NARROWEST)
    if min(width, height) >= least:
        return image
    return image.resize((max(width, least), max(height, least)))
