"""What all imports share: reading a foreign file, a folder that appears whole, where it came from.

A foreign file is `.safetensors`, or a pickle of tensors (`.pt`, `.pth`, `.bin`), which is read with
torch's `weights_only`: it can build tensors and plain values, and runs nothing else.
"""

from __future__ import annotations

import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError, UsageError
from imgrank.models.card import front_matter
from imgrank.models.origin import read_origin
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import BackboneSpec, file_sha256
from imgrank.models.wish import folder_name, refuse_listed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["backbone_facts", "card", "new_folder", "provenance", "read_state_dict"]


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """A foreign file's tensors by name, as stored.

    A pickle may hold the bare mapping or have it under `state_dict`; a leading `module.` of all its
    names is taken off. Raises CheckpointError if the file cannot be read so.
    """
    import torch

    try:
        content = _read(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # of a damaged file: nearly anything is raised
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{file} is damaged, or holds more than tensors and plain values, and imgrank runs no "
            f"code from a file. Torch says: {said}"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{file} holds no mapping of names to tensors.")
    if odd := [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]:
        raise CheckpointError(f"{file} is no state dict: {', '.join(odd[:9])} are not tensors.")
    start = "module." if all(str(name).startswith("module.") for name in content) else ""
    return {str(name).removeprefix(start): tensor for name, tensor in content.items()}


def _read(file: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of TorchScript, which is then refused
        # An optimizer's state beside the weights is then never read from the disk.
        mapped = zipfile.is_zipfile(file)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)


@contextmanager
def new_folder(root: Path, name: str) -> Iterator[Path]:
    """A hidden folder to fill; it becomes `root/name` if nothing is raised, else it is removed.

    Raises UsageError if the name cannot be a model's or is taken, also by the package's list or by
    an import that goes on just now, and CheckpointError if a file cannot be read or written.
    """
    from filelock import FileLock, Timeout

    folder_name(name)
    target, staging = root / name, root / f".import-{name}"
    if (EMBEDDED / name).exists():
        raise UsageError(f"'{name}' is a model of the package itself. Use another name.")
    refuse_listed(name)
    if target.exists():
        raise UsageError(f"{target} exists already; imgrank overwrites nothing. Use another name.")
    alone = FileLock(root / f"{staging.name}.lock", timeout=0)  # ends with the process
    try:
        root.mkdir(parents=True, exist_ok=True)
        with alone:
            try:
                shutil.rmtree(staging, ignore_errors=True)  # of an import that was killed
                staging.mkdir()
                yield staging
                staging.rename(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
                with suppress(OSError):  # Windows deletes no open file
                    Path(alone.lock_file).unlink()
    except Timeout:
        raise UsageError(f"another imgrank is importing '{name}' right now. Wait for it.") from None
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise CheckpointError(f"cannot make {target}: {error.strerror or error}{place}.") from error


def provenance(file: Path) -> dict[str, Any]:
    """What a config records of the file that it was made from."""
    return {"file": file.name, "sha256": file_sha256(file), "bytes": file.stat().st_size}


def backbone_facts(
    spec: BackboneSpec, views: Sequence[str], tokens: Sequence[str]
) -> dict[str, Any]:
    """The `backbone` part of a config: which one, where it came from, and what of it is used."""
    origin = read_origin(spec.folder)
    pulled = {"origin": f"{origin.origin}@{origin.revision}"} if origin and origin.revision else {}
    return {
        "name": spec.name,
        **pulled,
        "digest": f"sha256:{spec.identity}",
        "views": list(views),
        "tokens": list(tokens),
    }


def card(config: Mapping[str, Any], what: str, notes: Sequence[str]) -> str:
    """A model card of an import, Markdown. what: one sentence; notes: one line each."""
    licence = str(config["licence"])
    lines = [
        *front_matter(config),
        f"# {config['name']}",
        "",
        what,
        "",
        f"Made by `{config['made_by']}`. Licence: {licence}.",
        "",
    ]
    for task, facts in config["tasks"].items():
        scale = f"{facts['range'][0]:g} to {facts['range'][1]:g}" if "range" in facts else "open"
        prompt = f'instruction "{facts["prompt"]}", ' if "prompt" in facts else ""
        lines.append(f"- {task}: {prompt}unit {facts['unit'] or 'none'}, range {scale}")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])
