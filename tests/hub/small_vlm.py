"""A tiny Qwen2.5-VL as a repository of the stand-in."""

from __future__ import annotations

from pathlib import Path

PLACE = "owner/seer"
TERMS = b"Research only.\n"


def repository(vlm: Path) -> dict[str, bytes]:
    """Content of all files of a `tiny_vlm` by name, beside what a pull is not to take."""
    other = {
        "LICENSE": TERMS,
        "README.md": b"---\nlicense: other\nlicense_name: qwen-research\n---\n# seer",
        "modeling.py": b"print('run')",
        "pytorch_model.bin": b"pickle",
        "model-00001-of-00001.safetensors": b"of an earlier commit",
        "assets/model.safetensors": b"elsewhere",
        ".gitattributes": b"",
    }
    return {path.name: path.read_bytes() for path in vlm.iterdir()} | other
