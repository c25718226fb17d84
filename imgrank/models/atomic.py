"""Files that are never half written: made beside their place, then moved there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["write_bytes", "write_json"]


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces what is there. Raises OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, table: Mapping[str, Any]) -> None:
    """Replaces what is there. Raises OSError."""
    write_bytes(path, (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode())
