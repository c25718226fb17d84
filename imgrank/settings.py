"""What the user may set, and where from: flag > `IMGRANK_*` > `config.toml` > default.

    # config.toml, in the user's configuration folder (or in IMGRANK_HOME)
    device = "cpu"
    feature_budget = "500MB"
    [models]
    quality = "tiny-quality"   # by task
    default = "vit-b-32-256"   # for what is neither measured nor trained for

Every key below is also an environment variable (`IMGRANK_FEATURE_BUDGET=500MB`), except `models`,
whose `default` is `IMGRANK_MODEL`.
`IMGRANK_HOME` puts cache, data and configuration under one folder. `HF_HUB_OFFLINE` and
`TRANSFORMERS_OFFLINE` mean `offline` here too, whatever else is set: the Hub's client obeys them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from imgrank.errors import UsageError

__all__ = [
    "PRECISIONS",
    "Engine",
    "Precision",
    "Preview",
    "Settings",
    "load_settings",
    "parse_address",
    "parse_size",
]

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Engine = Literal["auto", "torch", "onnx"]
Preview = Literal["auto", "kitty", "iterm2", "sixel", "blocks"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, resolved.

    home: IMGRANK_HOME, None if the platform's folders are used.
    cache_dir, data_dir: of the store, of data sets and checkpoints.
    config: the file, which may be absent.
    device: auto, cpu, mps, cuda or cuda:N.  precision: of the image models.
    engine: what models run on; auto takes ONNX Runtime where it is installed and as good.
    offline: never open a socket.
    offline_by: what asked for it ("--offline", "HF_HUB_OFFLINE", ...), "" if nothing did.
    feature_budget: bytes of token maps to keep.  threads: for decoding, None for one a core.
    preview: how `--preview` draws: auto (by what the environment says of the terminal), kitty,
    iterm2, sixel or blocks.
    model: for what is neither measured nor trained for.  models: by task, before everything else.
    llm_url: an OpenAI-compatible chat endpoint, for --rephrase and `imgrank judge`; none is asked
    that is not named.
    llm_model: the name it knows the model by.
    llm_key: what the endpoint wants to see; it is shown to no other, see llm_key_for.
    llm_timeout: seconds to wait for an answer.
    llm_key_for: the llm_url that stands where llm_key does, in the environment or in config.toml:
    the key goes to that host alone; "" if none stands there, then it goes to whichever is asked.
    """

    cache_dir: Path
    data_dir: Path
    config: Path
    home: Path | None = None
    device: str = "auto"
    precision: Precision = "auto"
    engine: Engine = "auto"
    offline: bool = False
    offline_by: str = ""
    feature_budget: int = 2_000_000_000
    threads: int | None = None
    preview: Preview = "auto"
    model: str | None = None
    models: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    llm_url: str | None = None
    llm_model: str | None = None
    llm_key: str | None = field(default=None, repr=False)
    llm_timeout: float = 60.0
    llm_key_for: str = ""

    @property
    def store_path(self) -> Path:
        """The SQLite file of the store."""
        return self.cache_dir / "imgrank.sqlite3"

    @property
    def vectors_dir(self) -> Path:
        """Embeddings outside the store, mapped into memory by a search."""
        return self.cache_dir / "vectors"

    @property
    def models_dir(self) -> Path:
        """Where checkpoints of the user are, each a folder named as the model."""
        return self.data_dir / "models"

    @property
    def operations_dir(self) -> Path:
        """The journals of what was done with files; what `imgrank undo` reads."""
        return self.data_dir / "operations"


def load_settings(*, environ: Mapping[str, str] | None = None, **flags: Any) -> Settings:
    """Settings from flags, environment and `config.toml`.

    flags: by field name, or `home`; None means that the flag was not given (so a switch must have
    the default None, not False). Raises UsageError for a value that cannot be, naming where it
    came from, and for a key or a flag that does not exist.
    """
    environ = os.environ if environ is None else environ
    unknown = flags.keys() - _PARSERS.keys() - {"home"}
    if unknown:
        raise UsageError(f"There is no setting {', '.join(sorted(unknown))}. {_KEYS}")
    home = _home(flags.pop("home", None), environ)
    config = (home or _platform("config")) / "config.toml"
    values: dict[str, Any] = {
        "cache_dir": home / "cache" if home else None,
        "data_dir": home / "data" if home else None,
    }
    values.update(_from_file(config))
    key_for = values.get("llm_url", "")
    for key, parse in _PARSERS.items():
        variable = f"IMGRANK_{key.upper()}"
        if text := environ.get(variable, "").strip():
            values[key] = _parsed(parse, text, variable)
    if environ.get("IMGRANK_LLM_KEY", "").strip():
        key_for = values["llm_url"] if environ.get("IMGRANK_LLM_URL", "").strip() else ""
    values["llm_key_for"] = key_for
    for key, given in flags.items():
        if given is not None:
            values[key] = _parsed(_PARSERS[key], given, f"--{key.replace('_', '-')}")
    asked = _offline_by(values, flags, environ, config)
    values |= {"offline": bool(asked), "offline_by": asked}
    values["cache_dir"] = values["cache_dir"] or _platform("cache")
    values["data_dir"] = values["data_dir"] or _platform("data")
    return Settings(home=home, config=config, **values)


def parse_size(value: object) -> int:
    """Bytes from 2000000000, "2GB", "1.5 GiB", "500MB"; raises ValueError with what is expected."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return int(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size is expected, such as "2GB" or "500MB"')
    number, prefix, binary = match.groups()
    step = 1024 if binary else 1000
    power = " KMGT".index((prefix or " ").upper())
    return round(float(number) * float(step**power))


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i)?)?B?", re.IGNORECASE)
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_SWITCH = {"1": True, "true": True, "yes": True, "on": True}
_SWITCH |= {"0": False, "false": False, "no": False, "off": False}


def _device(value: object) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value.strip()):
        raise ValueError("one of auto, cpu, mps, cuda, cuda:0, cuda:1, ... is expected")
    return value.strip()


def _precision(value: object) -> str:
    if not isinstance(value, str) or value.strip() not in PRECISIONS:
        raise ValueError(f"one of {', '.join(PRECISIONS)} is expected")
    return value.strip()


def _engine(value: object) -> str:
    if not isinstance(value, str) or value.strip() not in get_args(Engine):
        raise ValueError(f"one of {', '.join(get_args(Engine))} is expected")
    return value.strip()


def _preview(value: object) -> str:
    if not isinstance(value, str) or value.strip() not in get_args(Preview):
        raise ValueError(f"one of {', '.join(get_args(Preview))} is expected")
    return value.strip()


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _SWITCH:
        return _SWITCH[value.strip().lower()]
    raise ValueError("true or false is expected")


def _positive(value: object) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a whole number of at least 1 is expected")
    return value


def _folder(value: object) -> Path:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError("a folder is expected")
    return Path(value).expanduser().absolute()


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("the name of a model is expected")
    return value.strip()


def parse_address(value: object) -> str:
    """The base of a chat endpoint; raises ValueError, which repeats nothing of the address.

    What comes after it in requests, "/chat/completions", may be given and is taken off.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not _ADDRESS.fullmatch(text):
        raise ValueError('an address such as "http://localhost:8080/v1" is expected')
    if "@" in text or "?" in text or "#" in text:
        raise ValueError(
            "an address without user, password, query or fragment is expected; what proves who "
            "you are goes into IMGRANK_LLM_KEY"
        )
    from urllib.parse import urlsplit

    try:
        host = urlsplit(text).hostname if urlsplit(text).port != 0 else None
    except ValueError:  # a port that is no number, brackets that do not match
        host = None
    if not host:
        raise ValueError("an address with a host, and a port from 1 to 65535 if any, is expected")
    return text.rstrip("/").removesuffix("/chat/completions")


_ADDRESS = re.compile(r"https?://[!-~]+", re.IGNORECASE)


def _key(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value.strip()):
        raise ValueError("printable ASCII characters without spaces are expected")
    return value.strip()


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        seconds = 0.0
    if isinstance(value, bool) or not 0 < seconds <= 86_400:
        raise ValueError("a number of seconds above 0, at most a day, is expected")
    return seconds


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "cache_dir": _folder,
    "data_dir": _folder,
    "device": _device,
    "precision": _precision,
    "engine": _engine,
    "offline": _switch,
    "feature_budget": parse_size,
    "threads": _positive,
    "preview": _preview,
    "model": _name,
    "llm_url": parse_address,
    "llm_model": _name,
    "llm_key": _key,
    "llm_timeout": _seconds,
}
_HIDDEN = (_key, parse_address)  # what they refuse may hold a secret
_KEYS = f"Settings are {', '.join([*_PARSERS, 'models'])}."


def _parsed(parse: Callable[[Any], Any], value: object, origin: str) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        shown = "what is given" if parse in _HIDDEN else repr(value)
        raise UsageError(f"{origin}: {shown} will not do; {error}.") from None


def _offline_by(
    values: Mapping[str, Any], flags: Mapping[str, Any], environ: Mapping[str, str], config: Path
) -> str:
    """What asks for offline, the flag first; "" if nothing does."""
    if not values.get("offline"):
        hub = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        on = [name for name in hub if _SWITCH.get(environ.get(name, "").strip().lower())]
        return on[0] if on else ""
    if flags.get("offline") is not None:
        return "--offline"
    return "IMGRANK_OFFLINE" if environ.get("IMGRANK_OFFLINE", "").strip() else str(config)


def _home(flag: object, environ: Mapping[str, str]) -> Path | None:
    if flag is not None:
        return Path(_parsed(_folder, flag, "--home"))
    given = environ.get("IMGRANK_HOME", "").strip()
    return Path(_parsed(_folder, given, "IMGRANK_HOME")) if given else None


def _platform(kind: str) -> Path:
    import platformdirs  # slow to import, and not needed with IMGRANK_HOME

    folders = {
        "cache": platformdirs.user_cache_path,
        "config": platformdirs.user_config_path,
        "data": platformdirs.user_data_path,
    }
    try:
        return folders[kind]("imgrank", appauthor=False)
    except RuntimeError as error:  # no home folder
        raise UsageError(f"{error} Set IMGRANK_HOME to a folder of yours.") from None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{path} is not TOML: {error}. Correct that line, or rename the file: without it "
            "everything has its default."
        ) from None
    models = table.pop("models", {})
    if unknown := sorted(table.keys() - (_PARSERS.keys() - {"model"})):
        hint = ' Models go under [models]: quality = "NAME", or default.' * ("model" in unknown)
        raise UsageError(f"{path}: there is no setting {unknown[0]!r}. {_KEYS}{hint}")
    if not isinstance(models, dict):
        raise UsageError(f'{path}: models is a table: [models], then quality = "NAME".')
    values = {key: _parsed(_PARSERS[key], value, f"{path}: {key}") for key, value in table.items()}
    if "default" in models:
        values["model"] = _parsed(_name, models.pop("default"), f"{path}: models.default")
    values["models"] = MappingProxyType(
        {task: _parsed(_name, name, f"{path}: models.{task}") for task, name in models.items()}
    )
    return values
