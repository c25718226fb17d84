"""`imgrank doctor`: the machine as imgrank sees it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.models.registry import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from imgrank.settings import Settings

EPILOG = """\b
Examples:
  imgrank doctor
  imgrank doctor --json
"""

EXTRAS: dict[str, str | tuple[str, ...]] = {
    "faces": "cv2",
    "heic": "pillow_heif",
    "raw": "rawpy",
    "train": "scipy",
    "onnx": "onnxruntime",
    "siglip": "transformers",
    "preview": "textual_image",
    "rarl": ("transformers", "peft", "accelerate"),
}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PACKAGES = ("torch", "open_clip_torch", "timm", "pillow", "huggingface-hub", "safetensors", "numpy")


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(as_json: bool) -> int:
    """Check this machine: versions, device, disk, cache, embedded models.

    Exits with 3 if a model, config.toml or the lock file is damaged or the embedded models are
    missing. Opens no socket.
    """
    from imgrank.results.output import visible

    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for section, facts in found.items():
            click.echo(f"{section}:")
            for name, value in facts.items():
                click.echo(visible(f"  {name}: {value}"))
    whole = all(state == "ok" for state in found["models"].values())
    whole = whole and not any("problem" in found[section] for section in ("folders", "locks"))
    return 0 if whole and DEFAULT_BACKBONE in found["models"] else 3


def examine() -> dict[str, dict[str, Any]]:
    """Sections of facts; everything that could be wrong is a fact, not an exception."""
    from imgrank.images.limits import machine_pixel_cap

    settings, wrong = _settings()
    return {
        "versions": {
            "imgrank": importlib.metadata.version("imgrank"),
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "extras": {
            extra: f"missing: pip install 'imgrank[{extra}]'" if _absent(modules) else "installed"
            for extra, modules in EXTRAS.items()
        },
        "machine": {
            "system": platform.platform(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "?",
            "device": _device(settings.device),
            "largest picture": f"{machine_pixel_cap() / 1e6:.0f} megapixels",
        },
        "cache": {
            "file": str(settings.store_path),
            "size": _size(settings.store_path),
            "writable": _writable(settings.store_path),
            "free disk": _free(settings.store_path),
            "token budget": f"{settings.feature_budget / 1e9:.1f} GB",
        },
        "folders": {
            "config": f"{settings.config}{'' if settings.config.exists() else ' (not there)'}",
            "data": str(settings.data_dir),
            "models": str(settings.models_dir),
            **({"problem": wrong} if wrong else {}),
        },
        "hub": _hub(settings),
        "locks": _locks(settings),
        "models": _models(settings),
    }


def _absent(modules: str | tuple[str, ...]) -> bool:
    """Whether one of the modules that an extra brings is not installed."""
    names = (modules,) if isinstance(modules, str) else modules
    return not all(importlib.util.find_spec(name) for name in names)


def _settings() -> tuple[Settings, str]:
    """As all other commands see them, or, with what is wrong, those of the folders alone."""
    from imgrank.errors import UsageError
    from imgrank.settings import Settings, load_settings

    try:
        return load_settings(), ""
    except UsageError as error:
        import platformdirs

        home = os.environ.get("IMGRANK_HOME", "").strip()
        root = Path(home).expanduser().absolute() if home else None
        usual = platformdirs.PlatformDirs("imgrank", appauthor=False)
        own = {
            kind: Path(given).expanduser().absolute()
            for kind in ("cache", "data")
            if (given := os.environ.get(f"IMGRANK_{kind.upper()}_DIR", "").strip())
        }
        cache = root / "cache" if root else usual.user_cache_path
        data = root / "data" if root else usual.user_data_path
        config = root or usual.user_config_path
        return (
            Settings(own.get("cache", cache), own.get("data", data), config / "config.toml", root),
            f"{error} Other commands stop at it; the usual settings are shown here.",
        )


def _locks(settings: Settings) -> dict[str, str]:
    """What is known of the lock file of pulls."""
    from imgrank.errors import CheckpointError
    from imgrank.models.lock import lock_path, locked

    path = lock_path(settings)
    try:
        count = len(locked(settings))
    except CheckpointError as error:
        return {"file": str(path), "problem": str(error)}
    return {"file": str(path) if path.exists() else f"{path} (not there)", "pinned": str(count)}


def _hub(settings: Settings) -> dict[str, str]:
    """How the Hub would be reached; values that may hold a password are not shown."""
    from huggingface_hub import constants

    from imgrank.models.hub_errors import without_password

    proxies = [name for name in PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
    off = f"off, by {settings.offline_by}"
    return {
        "access": off if settings.offline else "only by `imgrank models pull` and `push`",
        "endpoint": without_password(os.environ.get("HF_ENDPOINT", "").strip())
        or f"{constants.ENDPOINT} (its own)",
        "token": _token(),
        "HF_HOME": constants.HF_HOME,
        "proxies": ", ".join(proxies) or "none set",
    }


def _token() -> str:
    from huggingface_hub import get_token

    try:
        return "there" if get_token() else "none: private and gated repositories need one"
    except OSError as error:
        return f"cannot be read: {error}"


def _device(wish: str) -> str:
    from imgrank.errors import UsageError
    from imgrank.models.device import choose_device

    try:
        return choose_device(wish)[1]
    except UsageError as error:
        return str(error)


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.exists() else "not made yet"


def _writable(path: Path) -> str:
    there = next(p for p in (path, *path.parents) if p.exists())
    return "yes" if os.access(there, os.W_OK) else "no"


def _free(path: Path) -> str:
    there = next(p for p in path.parents if p.exists())
    return f"{shutil.disk_usage(there).free / 1e9:.1f} GB"


def _models(settings: Settings) -> dict[str, str]:
    """Every model's weights against the digest that its folder records; is its backbone here?"""
    from imgrank.errors import ImgrankError
    from imgrank.models.digests import file_sha256, known_sha256
    from imgrank.models.registry import VLM, entries
    from imgrank.models.resting import lacking, way_to
    from imgrank.models.verifying import verify

    found = {}
    for entry in entries(settings.models_dir):
        name = entry.name if entry.where == "embedded" else str(entry.folder)
        try:
            # Gigabytes are read once, and then only by `imgrank models verify`.
            verify(entry, known_sha256 if entry.kind == VLM else file_sha256)
            lacks = lacking(entry, settings)
            found[name] = f"{lacks}: {way_to(entry)}" if lacks else "ok"
        except ImgrankError as error:
            found[name] = str(error)
    return found
