"""Loading by OpenCLIP and transformers with the Hub switched off, one load at a time.

A folder may name parts that are on the Hub; nothing is fetched that nobody asked for. The switch is
of the whole process, as are those of warnings and bars that are turned while a model is loaded: two
threads at it would leave them as the other had them. So whoever loads, of either library, waits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants

__all__ = ["without_hub"]

_loading = threading.Lock()


@contextmanager
def without_hub() -> Iterator[None]:
    """The client opens no socket inside; afterwards it is as it was. Not to be nested."""
    with _loading:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before
