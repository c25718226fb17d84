"""From a backbone folder to one tower and its tokenizer, by OpenCLIP's `local-dir:`.

OpenCLIP builds both towers. What is not asked for is dropped before any weights are read, and what
is built is not initialised first: a model of 600 MB then needs a few milliseconds and no memory
until its tensors are read, and only those of one tower are. That holds where the file has exactly
the names and shapes of the model. Anything else (older names, another input size, a scalar of
another shape) goes OpenCLIP's own way, `load_checkpoint`, which knows how to convert it.

Nothing is fetched from the Hub and no program of a model's repository is run, whatever the
folder's files say.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import open_clip
from safetensors import safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from imgrank.errors import CheckpointError, MissingExtra
from imgrank.models.digests import known_sha256
from imgrank.models.spec import CONFIG, RECORD, BackboneSpec, to_verify
from imgrank.models.without_hub import without_hub

__all__ = ["Tower", "load_tokenizer", "load_tower"]

Tower = Literal["image", "text"]


def load_tower(spec: BackboneSpec, tower: Tower, overrides: Mapping[str, Tensor]) -> nn.Module:
    """The image tower (OpenCLIP's `visual`), or the OpenCLIP model without it, float32 on the CPU,
    for evaluation.

    overrides: tensors that stand in for the folder's own, by their OpenCLIP names, of both towers.
    Raises CheckpointError if the weights are not those that the record names, or do not fit.
    """
    if known_sha256(spec.weights) != spec.weights_sha256:
        raise CheckpointError(
            f"{spec.weights} is not the file that {RECORD} names (sha256 differs): it is "
            f"damaged or was exchanged. {to_verify(spec.folder)}"
        )
    config = _model_config(spec)
    if config.get("text_cfg", {}).get("hf_model_name"):
        raise CheckpointError(
            f"{spec.name} has a text tower of the transformers library "
            f"({config['text_cfg']['hf_model_name']}), which OpenCLIP would fetch from the Hub by "
            "itself. imgrank does not take these; use another backbone."
        )
    with without_hub():
        try:
            with _quietly():
                model = _filled(spec, tower, timm="timm_model_name" in config["vision_cfg"])
        except Exception as error:  # of a config or a file that is wrong: nearly anything is raised
            raise CheckpointError(f"OpenCLIP cannot load {spec.folder}: {error}") from error
    if overrides:
        _override(model, tower, overrides, spec.name)
    return _part(model, tower).eval().requires_grad_(False)


def load_tokenizer(spec: BackboneSpec) -> Callable[[list[str]], Tensor]:
    """Texts -> token ids [B, T], padded to the context length, as the folder's config asks for.

    Raises MissingExtra if that needs the transformers library, and CheckpointError if the folder's
    files do not do.
    """
    text = _model_config(spec).get("text_cfg", {})
    options: dict[str, Any] = {}
    if text.get("hf_tokenizer_name"):
        if importlib.util.find_spec("transformers") is None:
            raise MissingExtra(f"the tokenizer of {spec.name}", "siglip")
        options = {"trust_remote_code": False}  # stronger than what the folder's config says
    elif spec.merges:
        options = {"bpe_path": str(spec.merges)}
    with without_hub(), warnings.catch_warnings():
        # OpenCLIP's tokenizer leaves its merges file for the garbage collector to close.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(
                f"local-dir:{spec.folder}", **options
            )
        except Exception as error:  # as above
            raise CheckpointError(
                f"the tokenizer of {spec.name} cannot be read from {spec.folder}: {error}"
            ) from error
    return tokenizer


def _filled(spec: BackboneSpec, tower: Tower, timm: bool) -> Any:
    """OpenCLIP's model, in which at least the named tower holds the folder's tensors."""
    # OpenCLIP resizes the positions of its own ViT while it loads them; timm does it afterwards.
    early = {"force_image_size": spec.image_size} if spec.other_size and not timm else {}
    with _Uninitialised():
        model = open_clip.create_model(
            f"local-dir:{spec.folder}", load_weights=False, pretrained_text=False, **early
        )
    if not _copied(spec, tower, model):
        open_clip.load_checkpoint(model, str(spec.weights))
    if spec.other_size and timm:
        model.visual.set_input_size(spec.image_size)
    return model


def _copied(spec: BackboneSpec, tower: Tower, model: nn.Module) -> bool:
    """Copies one tower's tensors from the file, if it is all that the model has; else False."""
    wanted: dict[str, Tensor] = model.state_dict()
    with safe_open(spec.weights, framework="pt") as file:
        names = list(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        if shapes != {name: tuple(tensor.shape) for name, tensor in wanted.items()}:
            return False
        for name in names:
            if _of_tower(name, tower):
                wanted[name].copy_(file.get_tensor(name))
    return True


def _of_tower(name: str, tower: Tower) -> bool:
    if tower == "image":
        return name.startswith("visual.")
    return not name.startswith(("visual.", "text_decoder."))


def _part(model: Any, tower: Tower) -> nn.Module:
    """What is kept of a model."""
    if tower == "image":
        visual: nn.Module = model.visual
        return visual
    model.visual = None
    if hasattr(model, "text_decoder"):  # CoCa's captions
        model.text_decoder = None
    kept: nn.Module = model
    return kept


def _override(model: nn.Module, tower: Tower, overrides: Mapping[str, Tensor], name: str) -> None:
    there = {key: value.shape for key, value in model.state_dict().items()}
    odd = sorted(key for key, value in overrides.items() if there.get(key) != value.shape)
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise CheckpointError(
            f"a checkpoint's tensors do not fit the backbone {name}, which has no "
            f"{', '.join(odd[:3])}{more} of that shape. Fetch the checkpoint again."
        )
    own = {key: tensor for key, tensor in overrides.items() if _of_tower(key, tower)}
    model.load_state_dict(own, strict=False)


def _model_config(spec: BackboneSpec) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((spec.folder / CONFIG).read_text(encoding="utf-8"))
    model: dict[str, Any] = config["model_cfg"]  # `read_spec` has looked at it
    if not isinstance(model.get("text_cfg", {}), dict):
        raise CheckpointError(f"{spec.folder / CONFIG} has a text_cfg that is no table.")
    return model


class _Uninitialised(TorchFunctionMode):
    """Inside, new parameters keep whatever their memory held: a function that would change one in
    place does nothing. For models of which every parameter is loaded afterwards."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, named = getattr(func, "__name__", ""), kwargs or {}
        in_place = name.endswith("_") and not name.endswith("__")
        first = args[0] if args else named.get("tensor")  # `torch.nn.init` passes it by name
        if in_place and isinstance(first, nn.Parameter):
            return first
        return func(*args, **named)


@contextmanager
def _quietly() -> Iterator[None]:
    """OpenCLIP warns of a model without weights, which is what is asked of it here."""
    root = logging.getLogger()

    def expected(record: logging.LogRecord) -> bool:
        return record.funcName != "create_model"

    root.addFilter(expected)
    try:
        yield
    finally:
        root.removeFilter(expected)
