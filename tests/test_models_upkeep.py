"""`imgrank models verify`, `remove` and `default`; pull and push without a Hub; doctor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from model_folders import EMBEDDED_NAMES, PHOTOS, REVISION, Place, Run, put, rows, runner

from imgrank.models.registry import EMBEDDED, listed
from imgrank.settings import Settings, load_settings

QUALITY = EMBEDDED / "tiny-quality"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


@pytest.fixture
def place(home: Path) -> Place:
    return put


# ---- verify --------------------------------------------------------------------------------------


def test_verify_names_each_file_that_differs(run: Run, place: Place) -> None:
    folder = place("mine", repository="me/adapter")
    result = run("models", "verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{name}\tok" for name in (*EMBEDDED_NAMES, "mine")]
    for name in ("README.md", "config.json"):
        (folder / name).write_text((folder / name).read_text() + "\n")
    result = run("models", "verify", "mine", "tiny")
    assert result.exit_code == 3
    assert sorted(line.split()[1] for line in result.stdout.splitlines()) == sorted(
        [str(folder / "README.md"), str(folder / "config.json"), "ok"]
    )
    assert f"imgrank models pull hf:me/adapter@{REVISION} --as mine" in result.stderr


def test_verify_of_a_damaged_or_half_pulled_one(run: Run, place: Place) -> None:
    (place("half") / "config.json").write_text("{")
    result = run("models", "verify", "half")
    assert (result.exit_code, "config.json" in result.stdout) == (3, True)
    (load_settings().models_dir / ".pull-begun").mkdir()
    result = run("models", "verify", "begun")
    assert result.exit_code == 3
    assert "Go on with it: imgrank models pull begun" in result.stderr


def test_a_pulled_folder_that_lost_its_config_is_not_passed_over(run: Run, place: Place) -> None:
    folder = place("mine", "tiny", repository="me/base")
    (folder / "open_clip_config.json").unlink()
    assert rows(run("models", "list", "--json"))["mine"]["state"] == "damaged"
    result = run("models", "verify")
    assert result.exit_code == 3
    assert f"mine\t{folder} is no model" in result.stdout
    assert f"imgrank models pull hf:me/base@{REVISION} --as mine" in result.stderr
    for name in ("mine", "hf:me/base"):
        result = run("sort", str(PHOTOS), "a cat", "--model", name)
        assert (result.exit_code, "imgrank models remove mine" in result.stderr) == (3, True)
    assert run("models", "info", "mine").exit_code == 3


def test_verify_of_an_imported_one_says_how_to_import_it_again(run: Run, place: Place) -> None:
    facts = {"repository": "", "origin": "imported", "revision": "", "asked": "/from/a folder"}
    (place("mine", "tiny", **facts) / "open_clip_config.json").write_text("{}")
    result = run("models", "verify", "mine")
    assert result.exit_code == 3
    line = "imgrank models import backbone '/from/a folder' --name mine"
    assert f"imgrank models remove mine, then {line}" in result.stderr


# ---- remove --------------------------------------------------------------------------------------


def test_remove_asks_and_says_what_rests_on_it(run: Run, place: Place) -> None:
    folder = place("mine", "tiny")
    spec = json.loads((folder / "open_clip_config.json").read_text())
    spec["preprocess_cfg"]["mean"] = [0.4, 0.4, 0.4]  # another backbone than the embedded one
    (folder / "open_clip_config.json").write_text(json.dumps(spec))
    from imgrank.models.spec import read_spec

    child = place("child")
    config = json.loads((child / "config.json").read_text())
    config["backbone"]["digest"] = f"sha256:{read_spec(folder).identity}"
    (child / "config.json").write_text(json.dumps(config))
    run("models", "default", "mine")
    result = run("models", "remove", "mine", answer="n\n")
    assert result.exit_code == 1
    assert "child cannot be used without mine" in result.stderr
    assert "imgrank models default --unset --task default" in result.stderr
    assert "19.2 MB" in result.stderr
    assert folder.is_dir()
    result = run("models", "remove", "mine", "--yes")
    assert (result.exit_code, folder.exists()) == (0, False)
    assert "19.2 MB freed" in result.stderr
    assert [p.name for p in folder.parent.iterdir()] == ["child"]


def test_remove_of_a_copy_of_the_embedded_backbone_hurts_nobody(run: Run, place: Place) -> None:
    place("copy", "tiny")
    place("child")
    assert "cannot be used" not in run("models", "remove", "copy", "--yes").stderr


def test_remove_takes_only_what_is_below_the_models_folder(
    run: Run, place: Place, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(QUALITY, elsewhere)
    for name in ("tiny", str(elsewhere), str(EMBEDDED / "tiny"), "..", "."):
        assert run("models", "remove", name, "--yes").exit_code in (2, 3)
    assert run("models", "remove", "nothing", "--yes").exit_code == 3
    assert (elsewhere.is_dir(), (EMBEDDED / "tiny").is_dir()) == (True, True)
    folder = place("mine")
    result = run("models", "remove", "mine")
    assert (result.exit_code, folder.is_dir()) == (2, True)
    assert "needs --yes" in result.stderr


def test_remove_of_a_link_leaves_what_it_points_to(run: Run, place: Place, tmp_path: Path) -> None:
    target = place("mine").rename(tmp_path / "target")
    (load_settings().models_dir / "linked").symlink_to(target)
    assert run("models", "remove", "linked", "--yes").exit_code == 0
    assert (target / "config.json").is_file()


def test_remove_of_a_damaged_one_and_of_what_a_pull_left(run: Run, place: Place) -> None:
    (place("half") / "config.json").unlink()
    staged = load_settings().models_dir / ".pull-begun"
    staged.mkdir()
    (staged / "open_clip_model.safetensors").write_bytes(bytes(2_000_000))
    assert run("models", "remove", "half", "--yes").exit_code == 0
    result = run("models", "remove", "begun", "--yes")
    assert "2.0 MB freed" in result.stderr
    assert list(staged.parent.iterdir()) == []


# ---- default -------------------------------------------------------------------------------------


def test_default_writes_config_and_keeps_comments(run: Run, place: Place) -> None:
    place("mine")
    config = load_settings().config
    config.write_text('# mine\ndevice = "cpu"  # no GPU\n\n[models] # whom I trust\n')
    result = run("models", "default", "mine")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f'{config}: [models] quality = "mine"' in result.stderr
    assert config.read_text() == (
        '# mine\ndevice = "cpu"  # no GPU\n\n[models] # whom I trust\nquality = "mine"\n'
    )
    assert run("models", "default", "tiny").exit_code == 0
    assert run("models", "default").stdout == "quality\tmine\ndefault\ttiny\n"
    result = run("sort", str(PHOTOS / "cat.jpg"), "by image quality")
    assert "quality: adapter" in result.stderr
    assert run("models", "default", "--unset", "--task", "quality").exit_code == 0
    assert run("models", "default").stdout == "default\ttiny\n"
    assert run("models", "default", "--unset").exit_code == 0
    assert "# no GPU" in config.read_text()
    assert load_settings().model is None
    assert "no default was chosen" in run("models", "default").stderr


def test_default_makes_the_file_if_there_is_none(run: Run) -> None:
    assert run("models", "default", "tiny", "--task", "age").exit_code == 0
    assert dict(load_settings().models) == {"age": "tiny"}
    assert rows(run("models", "list", "--json"))["tiny"]["default_for"] == ["age", "*"]


def test_default_refuses_what_cannot_be(run: Run, place: Place, tmp_path: Path) -> None:
    place("half").joinpath("config.json").write_text("{")
    for arguments, status, text in (
        (("tiny-quality", "--task", "age"), 2, "was not trained for age; it answers quality"),
        (("tiny", "--task", "agee"), 2, "no task 'agee'"),
        (("vit-b-16",), 3, "imgrank models pull vit-b-16"),
        (("half",), 3, "config.json"),
        (("--task", "age"), 2, "NAME"),
        (("tiny", "--unset"), 2, "--unset takes no NAME"),
        (("--unset", "--task", "age"), 2, "There is none at all"),
    ):
        result = run("models", "default", *arguments)
        assert (result.exit_code, text in result.stderr) == (status, True), result.stderr
    assert not load_settings().config.exists()


def test_default_by_path_is_kept_as_one(run: Run, tmp_path: Path) -> None:
    shutil.copytree(QUALITY, tmp_path / "elsewhere")
    assert run("models", "default", str(tmp_path / "elsewhere")).exit_code == 0
    assert load_settings().models["quality"] == str(tmp_path / "elsewhere")


def test_default_writes_through_a_link(run: Run, home: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    home.mkdir()
    (home / "config.toml").symlink_to(real)
    assert run("models", "default", "tiny", "--task", "age").exit_code == 0
    assert (home / "config.toml").is_symlink()
    assert real.read_text().startswith("# mine\n")


# ---- what opens no socket ------------------------------------------------------------------------


def test_a_sort_by_a_model_that_is_not_here_says_how_to_get_it(run: Run) -> None:
    result = run("sort", str(PHOTOS), "a cat", "--model", "vit-b-32-256")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        "imgrank: 'vit-b-32-256' is not on this machine (605 MB, licence mit). "
        "Fetch it: imgrank models pull vit-b-32-256\n"
    )


def test_a_checkpoint_without_its_backbone_says_how_to_get_that(run: Run, place: Place) -> None:
    config = place("mine") / "config.json"
    facts = json.loads(config.read_text())
    facts["backbone"] |= {"name": "vit-b-16", "digest": "sha256:" + "0" * 64}
    config.write_text(json.dumps(facts))
    result = run("sort", str(PHOTOS), "by quality", "--model", "mine")
    assert result.exit_code == 3
    assert "Get it: imgrank models pull vit-b-16\n" in result.stderr
    facts["backbone"]["origin"] = f"hf:me/base@{REVISION}"
    config.write_text(json.dumps(facts))
    result = run("sort", str(PHOTOS), "by quality", "--model", "mine")
    assert f"Get it: imgrank models pull hf:me/base@{REVISION}\n" in result.stderr


@pytest.mark.parametrize(
    ("how", "by"),
    [(("--offline",), "--offline"), ((), "HF_HUB_OFFLINE"), ((), "TRANSFORMERS_OFFLINE")],
)
def test_offline_pull_and_push_refuse_before_a_socket(
    run: Run, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...], by: str
) -> None:
    if not how:
        monkeypatch.setenv(by, "1")
    for arguments in (("pull", "vit-b-16", "--yes"), ("push", "tiny", "me/tiny", "--yes")):
        result = run("models", *arguments, *how)
        assert (result.exit_code, by in result.stderr) == (3, True), result.stderr


def test_offline_a_dry_run_tells_what_the_package_knows(run: Run) -> None:
    result = run("models", "pull", "mobileclip2-s0", "--dry-run", "--offline")
    assert result.exit_code == 0
    assert f"revision  {listed()['mobileclip2-s0'].revision} (pinned)" in result.stdout
    assert "to fetch  about 300 MB" in result.stdout
    assert "warning: its licence (apple-amlr) allows research only" in result.stdout
    result = run("models", "pull", "official-count", "--dry-run", "--offline")
    assert "models import official-adapter FILE.pt" in result.stdout
    assert run("models", "pull", "hf:me/adapter", "--dry-run", "--offline").exit_code == 3


def test_pull_of_an_embedded_or_unpublished_or_unknown_one(run: Run) -> None:
    result = run("models", "pull", "tiny")
    assert (result.exit_code, result.stdout) == (0, f"{EMBEDDED / 'tiny'}\n")
    assert "nothing to fetch" in result.stderr
    assert run("models", "pull", "rarl").exit_code == 3
    assert run("models", "pull", "nonsense").exit_code == 2


def test_doctor_tells_how_the_hub_would_be_reached(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    monkeypatch.setenv("https_proxy", "http://user:password@proxy.example")
    result = run("doctor", "--json")
    hub = json.loads(result.stdout)["hub"]
    assert hub["access"] == "only by `imgrank models pull` and `push`"
    assert (hub["endpoint"], hub["token"]) == ("https://mirror.example", "there")
    assert "HTTPS_PROXY" in hub["proxies"]
    assert "secret" not in result.stdout
    assert "password" not in result.stdout
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert json.loads(run("doctor", "--json").stdout)["hub"]["access"] == "off, by HF_HUB_OFFLINE"
    assert {"onnx", "siglip", "faces"} <= json.loads(result.stdout)["extras"].keys()


def test_doctor_goes_on_where_config_or_lock_file_are_damaged(run: Run, home: Path) -> None:
    home.mkdir(exist_ok=True)
    config, lock = home / "config.toml", home / "data" / "models.lock.json"
    assert run("doctor").exit_code == 0
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("{")
    result = run("doctor", "--json")
    assert result.exit_code == 3
    assert str(lock) in json.loads(result.stdout)["locks"]["problem"]
    lock.unlink()
    config.write_text("[models\n")
    result = run("doctor", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 3
    assert str(config) in found["folders"]["problem"]
    assert found["cache"]["file"] == str(load_settings_without(config).store_path)
    assert found["models"]["tiny"] == "ok"


def load_settings_without(config: Path) -> Settings:
    config.unlink()
    return load_settings()
