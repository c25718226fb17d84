"""Everything that can go wrong, drawn as a tree.

    ImgrankError            status 1   a message: what happened, what to do next
    ├── UsageError          status 2   the command cannot be understood (bad path, bad option value)
    │   └── InstructionError  status 2   an instruction that is empty or contradicts itself
    ├── NothingReadable     status 1   not one picture could be read
    ├── ModelUnavailable    status 3   a model, data set or the network is missing
    │   └── MissingExtra    status 3   an optional dependency is not installed; names the pip line
    ├── CheckpointError     status 3   a checkpoint folder is incomplete or damaged
    ├── DataError           status 3   a data set's folder is missing or not laid out as published
    ├── ChatError           status 3   a language model cannot be reached or gave nothing of use
    └── StoreError          status 1   the cache cannot be opened or written

One unreadable picture is not an error: it is a `Skip` value (see `imgrank.images`).
"""

from __future__ import annotations

__all__ = [
    "ChatError",
    "CheckpointError",
    "DataError",
    "ImgrankError",
    "InstructionError",
    "MissingExtra",
    "ModelUnavailable",
    "NothingReadable",
    "StoreError",
    "UsageError",
]


class ImgrankError(Exception):
    """Base of all errors that imgrank raises on purpose. `status` is the command's exit status."""

    status = 1


class UsageError(ImgrankError):
    """The request itself cannot be understood."""

    status = 2


class InstructionError(UsageError):
    """An instruction that cannot be turned into a query."""


class NothingReadable(ImgrankError):
    """Pictures were named, but not one could be read."""


class ModelUnavailable(ImgrankError):
    """A model is not on this machine and may not or cannot be fetched."""

    status = 3


class MissingExtra(ModelUnavailable):
    """An optional dependency is absent."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'imgrank[{extra}]'")
        self.extra = extra


class CheckpointError(ImgrankError):
    """A checkpoint folder cannot be used as it is."""

    status = 3


class DataError(ImgrankError):
    """A data set is missing or not laid out as published."""

    status = 3


class ChatError(ImgrankError):
    """The endpoint of a language model cannot be asked, or gave nothing that can be used."""

    status = 3


class StoreError(ImgrankError):
    """The cache cannot be opened or written."""
