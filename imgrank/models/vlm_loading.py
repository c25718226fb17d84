"""From a Qwen2.5-VL folder to transformers' model and processor.

Nothing is fetched, whatever the Hub's settings are, no program of the folder is run, weights are
read from safetensors only, and transformers keeps still: its bars and warnings speak to those who
call it, not to those who sort pictures.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from imgrank.errors import CheckpointError, MissingExtra
from imgrank.models.vlm_spec import needed_files
from imgrank.models.without_hub import without_hub

__all__ = ["load_model", "load_processor", "quietly"]


def load_model(folder: Path, dtype: torch.dtype | Literal["auto"]) -> Any:
    """The Qwen2_5_VLForConditionalGeneration, on the CPU, for evaluation.

    dtype: of the weights; "auto": as the folder has them.
    Raises MissingExtra without transformers, and CheckpointError if the weights cannot be read or
    do not fit the config.
    """
    _needed()
    needed_files(folder)  # a folder that is not whole says so in plain words
    with without_hub(), quietly():
        try:
            from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

            model, told = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation="sdpa",
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told, and refused below
            )
        except Exception as error:  # of a folder that is wrong: nearly anything is raised
            raise CheckpointError(
                f"transformers cannot load {folder}: {_said(error)}. Fetch the model again."
            ) from error
    _check(folder, told)
    # The folder's own would fill in what a call leaves open.
    model.generation_config = GenerationConfig()
    return model.eval()


def load_processor(folder: Path) -> Any:
    """The Qwen2_5_VLProcessor: tokenizer, image processor and the chat's template.

    Raises MissingExtra without transformers, and CheckpointError if a file of it is missing or
    damaged.
    """
    _needed()
    needed_files(folder)  # a folder that is not whole says so in plain words
    with without_hub(), quietly():
        try:
            from transformers import Qwen2_5_VLProcessor

            processor = Qwen2_5_VLProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # as above
            raise CheckpointError(
                f"transformers cannot load the processor of {folder}: {_said(error)}. Fetch the "
                "model again."
            ) from error
    processor.chat_template = processor.chat_template or processor.tokenizer.chat_template
    if not processor.chat_template or processor.tokenizer.eos_token_id is None:
        raise CheckpointError(
            f"{folder} has no template of a chat or no end of text. Fetch the model again."
        )
    return processor


@contextmanager
def quietly() -> Iterator[None]:
    """Neither bars nor warnings of transformers inside."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _needed() -> None:
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtra("a Qwen2.5-VL", "rarl")


def _said(error: Exception) -> str:
    """The first line of a message that may have many."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _check(folder: Path, told: dict[str, Any]) -> None:
    """transformers fills what it does not find with random numbers, and warns; here it stops."""
    lacking = sorted(map(str, told.get("missing_keys", ())))
    other = sorted(str(key[0]) for key in told.get("mismatched_keys", ()))
    for what, names in (("lack", lacking), ("have another shape than its config says:", other)):
        if names:
            more = f" and {len(names) - 3} more" if names[3:] else ""
            raise CheckpointError(
                f"the weights of {folder} {what} {', '.join(names[:3])}{more}. Fetch the model "
                "again."
            )
