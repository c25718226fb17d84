"""Whether a model's files are those that its folder records. No torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imgrank.errors import CheckpointError
from imgrank.models.checkpoint import WEIGHTS
from imgrank.models.digests import file_sha256
from imgrank.models.registry import DETECTOR, VLM, Entry, again
from imgrank.models.spec import read_spec
from imgrank.models.vlm_spec import read_vlm

__all__ = ["differences", "verify"]


def verify(entry: Entry, digest: Callable[[Path], str] = file_sha256) -> None:
    """Reads a model's files against the digests that its folder records, as `differences` does.

    Raises CheckpointError, naming the files that differ. No torch.
    """
    if different := differences(entry, digest):
        instead = {
            "embedded": "Install imgrank again.",
            "pulled": again(entry.folder),
            "local": "Fetch it again.",
        }[entry.where]
        raise CheckpointError(f"{entry.name} is damaged: {'; '.join(different)}. {instead}")


def differences(entry: Entry, digest: Callable[[Path], str] = file_sha256) -> list[str]:
    """What is wrong with a model's files, one text a file; [] if all are as recorded.

    Reads every file that `origin.json` names, and the weights of any model. No torch.
    digest: hex sha256 of a file's content; `known_sha256` reads none that is as it was.
    """
    if entry.problem:
        return [entry.problem.rstrip(".")]
    files = entry.origin.files if entry.origin is not None else {}
    recorded = {entry.folder / name: facts for name, facts in files.items()}
    if entry.kind == "backbone":
        try:
            spec = read_spec(entry.folder)
        except CheckpointError as error:
            return [str(error).rstrip(".")]
        own = {spec.weights: spec.weights_sha256}
    elif entry.kind == VLM and not recorded:
        try:
            read_vlm(entry.folder)  # nobody has said what its files should be, but they are whole
        except CheckpointError as error:
            return [str(error).rstrip(".")]
        own = {}
    elif entry.kind in (DETECTOR, VLM):
        own = {}
    else:
        own = {entry.folder / WEIGHTS: entry.config["weights"]["sha256"]}
    found = []
    for path in dict.fromkeys([*recorded, *own]):
        wanted = {own.get(path), recorded.get(path, {}).get("sha256")} - {None}
        if not path.is_file():
            found.append(f"{path} is missing")
        elif wanted and {digest(path)} != wanted:
            found.append(f"{path} was altered (its sha256 is not the one recorded)")
    return found
