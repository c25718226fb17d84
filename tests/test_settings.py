"""Flag > IMGRANK_* > config.toml > default, and errors that say which of them is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imgrank.errors import UsageError
from imgrank.settings import load_settings, parse_size


def configure(home: Path, text: str) -> Path:
    home.mkdir(exist_ok=True)
    path = home / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_home_holds_cache_data_and_config(home: Path) -> None:
    settings = load_settings()
    assert settings.home == home
    assert settings.cache_dir == home / "cache"
    assert settings.data_dir == home / "data"
    assert settings.config == home / "config.toml"
    assert settings.store_path == home / "cache" / "imgrank.sqlite3"
    assert not home.exists()  # looking makes nothing


def test_defaults() -> None:
    settings = load_settings()
    assert (settings.device, settings.offline, settings.threads) == ("auto", False, None)
    assert settings.feature_budget == 2_000_000_000
    assert (settings.model, dict(settings.models)) == (None, {})


def test_without_a_home_the_platform_s_folders_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *a, **k: tmp_path / "c")
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *a, **k: tmp_path / "d")
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *a, **k: tmp_path / "e")
    settings = load_settings(environ={})
    assert (settings.home, settings.cache_dir) == (None, tmp_path / "c")
    assert (settings.data_dir, settings.config) == (tmp_path / "d", tmp_path / "e" / "config.toml")


def test_precedence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, 'device = "mps"\nthreads = 3\noffline = true\nfeature_budget = "1GB"\n')
    settings = load_settings()
    assert (settings.device, settings.threads, settings.offline) == ("mps", 3, True)
    assert settings.feature_budget == 1_000_000_000
    monkeypatch.setenv("IMGRANK_DEVICE", "cuda:1")
    monkeypatch.setenv("IMGRANK_THREADS", "5")
    monkeypatch.setenv("IMGRANK_OFFLINE", "0")
    settings = load_settings(device=None, threads=7)
    assert (settings.device, settings.threads, settings.offline) == ("cuda:1", 7, False)
    assert load_settings(device="cpu", offline=True).device == "cpu"
    assert load_settings(offline=True).offline is True


def test_who_asked_for_offline(home: Path) -> None:
    def asked(*, flag: bool | None = None, **environ: str) -> tuple[bool, str]:
        found = load_settings(environ={"IMGRANK_HOME": str(home), **environ}, offline=flag)
        return found.offline, found.offline_by

    assert asked() == (False, "")
    assert asked(flag=True) == (True, "--offline")
    assert asked(flag=True, HF_HUB_OFFLINE="1") == (True, "--offline")
    assert asked(IMGRANK_OFFLINE="1") == (True, "IMGRANK_OFFLINE")
    assert asked(HF_HUB_OFFLINE="1") == (True, "HF_HUB_OFFLINE")
    assert asked(TRANSFORMERS_OFFLINE="YES", HF_HUB_OFFLINE="0") == (True, "TRANSFORMERS_OFFLINE")
    # The Hub's client would refuse anyway.
    assert asked(HF_HUB_OFFLINE="1", IMGRANK_OFFLINE="0") == (True, "HF_HUB_OFFLINE")
    config = configure(home, "offline = true\n")
    assert asked() == (True, str(config))
    assert asked(IMGRANK_OFFLINE="no") == (False, "")


def test_a_folder_of_its_own_for_data(home: Path, tmp_path: Path) -> None:
    assert load_settings(data_dir=tmp_path / "sets").data_dir == tmp_path / "sets"
    settings = load_settings(environ={"IMGRANK_HOME": str(home), "IMGRANK_CACHE_DIR": "~/fast"})
    assert settings.cache_dir == Path.home() / "fast"
    assert settings.data_dir == home / "data"


def test_a_model_for_all_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, '[models]\ndefault = "big"\nquality = "mine"\n')
    settings = load_settings()
    assert (settings.model, dict(settings.models)) == ("big", {"quality": "mine"})
    monkeypatch.setenv("IMGRANK_MODEL", "other")
    assert load_settings().model == "other"


def test_models_by_task(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, '[models]\nquality = "tiny-quality"\nage = "mine"\n')
    settings = load_settings()
    assert settings.models == {"quality": "tiny-quality", "age": "mine"}
    assert settings.model is None
    monkeypatch.setenv("IMGRANK_MODEL", "big")
    assert load_settings().model == "big"
    assert load_settings(model="flag").model == "flag"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", 2_000_000_000),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("64K", 64_000),
        ("123", 123),
        ("0", 0),
        (77, 77),
    ],
)
def test_sizes(text: object, expected: int) -> None:
    assert parse_size(text) == expected
    assert load_settings(feature_budget=text).feature_budget == expected


@pytest.mark.parametrize("value", ["", "two", "-1GB", "1GBB", "1 XB", -1, True, 1.5, None])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="2GB"):
        parse_size(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colour = "red"', "no setting 'colour'"),
        ('home = "x"', "no setting 'home'"),
        ('model = "x"', r"under \[models\]"),
        ('device = "gpu"', "device: 'gpu' will not do"),
        ("threads = 0", "threads: 0 will not do"),
        ("offline = 1", "offline: 1 will not do"),
        ('feature_budget = "lots"', "feature_budget: 'lots' will not do"),
        ("models = 3", "models is a table"),
        ("[models]\nquality = 3", "models.quality: 3 will not do"),
        ("device = ", "is not TOML.*Correct that line, or rename the file"),
    ],
)
def test_a_wrong_file_is_named(home: Path, text: str, message: str) -> None:
    path = configure(home, text)
    with pytest.raises(UsageError, match=message) as error:
        load_settings()
    assert str(path) in str(error.value)


def test_a_file_that_is_not_text_is_named(home: Path) -> None:
    path = configure(home, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read") as error:
        load_settings()
    assert str(path) in str(error.value)


def test_a_wrong_variable_or_flag_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^--feature-budget: 'x' will not do"):
        load_settings(feature_budget="x")
    monkeypatch.setenv("IMGRANK_THREADS", "many")
    with pytest.raises(UsageError, match=r"^IMGRANK_THREADS: 'many' will not do"):
        load_settings()
    with pytest.raises(UsageError, match="no setting speed"):
        load_settings(speed=3)


def test_importing_is_cheap() -> None:
    slow = ("platformdirs", "tomllib", "sqlite3", "numpy")
    code = (
        "import sys, imgrank.settings as s; s.load_settings();"
        f"print([m for m in {slow!r} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
