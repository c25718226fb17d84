"""`imgrank models pull` and `push` against the stand-in, as a user types them."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from server import TOKEN, StandIn

from imgrank.cli import main
from imgrank.models.lock import locked
from imgrank.models.registry import EMBEDDED, Listed, find
from imgrank.models.spec import read_spec
from imgrank.settings import load_settings

PHOTOS = str(Path(__file__).parents[2] / "examples" / "photos")
QUALITY = EMBEDDED / "tiny-quality"
FILES = {path.name: path.read_bytes() for path in QUALITY.iterdir()}
LICENCE = json.loads(FILES["config.json"])["licence"]
WEIGHTS = "model.safetensors"
Run = Callable[..., Result]


@pytest.fixture
def run(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line through the real entry point; answer: what is typed at a question."""

    def call(*arguments: str, answer: str | None = None) -> Result:
        monkeypatch.setattr(sys, "argv", ["imgrank", *arguments])
        monkeypatch.setattr("imgrank.cli.asking.may_ask", lambda: answer is not None)
        command = click.Command("imgrank", callback=main)
        return CliRunner().invoke(command, [], input=answer)

    return call


def fetched(hub: StandIn) -> bool:
    """Whether the weights of anything were asked for."""
    return any(WEIGHTS in request for request in hub.requests)


def here() -> list[str]:
    folder = load_settings().models_dir
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# ---- push, pull, sort ----------------------------------------------------------------------------


def test_push_then_pull_by_commit_then_sort_gives_the_same_scores(
    hub: StandIn, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    mine = load_settings().models_dir / "mine"
    shutil.copytree(QUALITY, mine)
    result = run("models", "push", "mine", "owner/quality", "--yes", "-m", "first")
    assert result.exit_code == 0, result.stderr
    wish = result.stdout.strip()
    commit = hub.repos["owner/quality"].refs["main"]
    assert wish == f"hf:owner/quality@{commit}"
    assert hub.repos["owner/quality"].commits[commit].keys() == FILES.keys()
    assert hub.repos["owner/quality"].private

    shutil.rmtree(mine)
    result = run("models", "pull", wish, "--as", "theirs", "--yes")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(load_settings().models_dir / "theirs")
    ready = 'theirs is ready: imgrank sort PHOTOS "by image quality" --model theirs'
    assert ready in result.stderr.splitlines()
    origin = find("theirs", load_settings().models_dir).origin
    assert origin is not None
    assert (origin.repository, origin.revision) == ("owner/quality", commit)

    hub.requests.clear()
    for photo in Path(PHOTOS).glob("c*.jpg"):
        shutil.copy(photo, tmp_path / photo.name)
    rows = {}
    for name in ("theirs", "tiny-quality", wish):
        if name == "tiny-quality":  # so that nothing of it is known
            monkeypatch.setenv("IMGRANK_CACHE_DIR", str(tmp_path / "another-cache"))
        result = run("sort", str(tmp_path), "by image quality", "--model", name)
        assert result.exit_code == 0
        assert ("7 computed" in result.stderr) == (name != wish)
        rows[name] = result.stdout
    assert len(rows["theirs"].splitlines()) == 8
    assert set(rows.values()) == {rows["tiny-quality"]}
    assert hub.requests == []


def test_push_asks_and_needs_a_token(hub: StandIn, run: Run) -> None:
    assert run("models", "push", "tiny-quality", "owner/q").exit_code == 2
    result = run("models", "push", "tiny-quality", "owner/q", answer="\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[1] == (
        "owner/q is made private, for its owners to read; if it is there already, it stays as "
        "visible as it is"
    )
    result = run("models", "push", "tiny-quality", "owner/q", "--yes")
    assert (result.exit_code, "HF_TOKEN" in result.stderr) == (3, True)
    assert hub.repos == {}


def test_push_in_public(hub: StandIn, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    result = run("models", "push", "tiny-quality", "hf:owner/q", "--public", "-y")
    assert result.exit_code == 0
    assert "owner/q is made public, for everybody to read" in result.stderr
    assert "warning" not in result.stderr  # everybody has the embedded backbone
    assert not hub.repos["owner/q"].private


def test_push_of_what_rests_on_a_backbone_that_nobody_else_has(hub: StandIn, run: Run) -> None:
    folder = load_settings().models_dir / "aest"
    shutil.copytree(QUALITY, folder)
    config = json.loads((folder / "config.json").read_text())
    config["backbone"]["name"] = "loc"
    (folder / "config.json").write_text(json.dumps(config))
    says = "warning: its backbone 'loc' is only on this machine: push that first"
    assert says in run("models", "push", "aest", "owner/q", answer="n\n").stderr
    config["backbone"]["origin"] = f"hf:owner/loc@{'0' * 40}"
    (folder / "config.json").write_text(json.dumps(config))
    assert says not in run("models", "push", "aest", "owner/q", answer="n\n").stderr
    assert hub.requests == []


# ---- before anything is fetched ------------------------------------------------------------------


def test_all_that_matters_is_shown_before_the_question(hub: StandIn, run: Run) -> None:
    commit = hub.add("owner/q", FILES)
    result = run("models", "pull", "hf:owner/q", answer="n\n")
    assert (result.exit_code, here(), fetched(hub)) == (1, [], False)
    for part in (
        "q: adapter from owner/q",
        f"revision  {commit} (resolved now from main)",
        f"licence   {LICENCE}",
        "to fetch  1.7 MB: config.json, README.md, model.safetensors",
        f"free in {load_settings().models_dir}",
        "warning: unpinned",
        "Fetch 1.7 MB?",
        "nothing was fetched",
    ):
        assert part in result.stderr


@pytest.mark.parametrize(
    ("licence", "question", "made"),
    [("mit", "[Y/n]", ["q"]), ("cc-by-nc-4.0", "[y/N]", []), ("apple-amlr", "[y/N]", [])],
)
def test_a_bare_enter_means_no_where_the_licence_forbids_uses(
    hub: StandIn, run: Run, licence: str, question: str, made: list[str]
) -> None:
    files = {name: data for name, data in FILES.items() if name != "README.md"}
    hub.add("owner/q", files, licence=licence)
    result = run("models", "pull", "hf:owner/q", answer="\n")
    assert question in result.stderr
    assert (f"its licence ({licence}) forbids some uses" in result.stderr) == (licence != "mit")
    assert here() == made


def test_a_model_for_research_only_says_so_and_is_not_taken_by_a_bare_enter(
    hub: StandIn, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("lab/q", FILES)
    lab = Listed("lab", "adapter", "hf:lab/q", licence="apple-amlr", research_only=True)
    monkeypatch.setattr("imgrank.models.wish.listed", lambda: {"lab": lab})
    result = run("models", "pull", "lab", answer="\n")
    assert (result.exit_code, here(), fetched(hub)) == (1, [], False)
    assert "allows research only" in result.stderr
    assert "[y/N]" in result.stderr


def test_without_a_terminal_nothing_is_fetched_unasked(hub: StandIn, run: Run) -> None:
    hub.add("owner/q", FILES)
    result = run("models", "pull", "hf:owner/q")
    assert (result.exit_code, here(), fetched(hub)) == (2, [], False)
    assert "--yes" in result.stderr


def test_a_dry_run_is_data_and_fetches_nothing(hub: StandIn, run: Run) -> None:
    hub.add("owner/q", FILES)
    result = run("models", "pull", "hf:owner/q", "--dry-run", "-q")
    assert (result.exit_code, here(), fetched(hub)) == (0, [], False)
    assert "to fetch  1.7 MB" in result.stdout
    assert result.stderr == ""


def test_quiet_says_only_where_it_is(hub: StandIn, run: Run) -> None:
    hub.add("owner/q", FILES)
    result = run("models", "pull", "hf:owner/q", "--yes", "-q")
    assert (result.stdout, result.stderr) == (f"{load_settings().models_dir / 'q'}\n", "")


def test_a_second_pull_asks_nothing(hub: StandIn, run: Run) -> None:
    hub.add("owner/q", FILES)
    run("models", "pull", "hf:owner/q", "--yes")
    hub.requests.clear()
    result = run("models", "pull", "hf:owner/q")
    assert (result.exit_code, hub.requests) == (0, [])
    assert "is here already" in result.stderr


def test_a_name_that_is_taken(hub: StandIn, run: Run) -> None:
    hub.add("owner/q", FILES)
    hub.add("other/q", FILES)
    run("models", "pull", "hf:owner/q", "--yes")
    for arguments in (("hf:other/q",), ("hf:owner/q", "--as", "tiny")):
        result = run("models", "pull", *arguments, "--yes")
        assert (result.exit_code, "--as NAME" in result.stderr) == (2, True)


def test_a_checkpoint_brings_the_backbone_that_it_names(hub: StandIn, run: Run) -> None:
    base = {path.name: path.read_bytes() for path in (EMBEDDED / "tiny").iterdir()}
    config = json.loads(base["open_clip_config.json"])
    config["preprocess_cfg"]["mean"] = [0.4, 0.4, 0.4]  # so that it is not the embedded one
    base["open_clip_config.json"] = json.dumps(config).encode()
    revision = hub.add("owner/base", base)
    run("models", "pull", "hf:owner/base", "--yes")
    digest = read_spec(load_settings().models_dir / "base").identity
    run("models", "remove", "base", "--yes")

    facts = json.loads(FILES["config.json"])
    origin = f"hf:owner/base@{revision}"
    facts["backbone"] |= {"name": "base", "origin": origin, "digest": f"sha256:{digest}"}
    hub.add("owner/q", {**FILES, "config.json": json.dumps(facts).encode()})
    result = run("models", "pull", "hf:owner/q", answer="y\n")
    assert result.exit_code == 0, result.stderr
    lines = result.stderr.splitlines()
    assert lines.index("q: adapter from owner/q") < lines.index("base: backbone from owner/base")
    assert f"revision  {revision} (pinned by its commit)" in result.stderr
    assert "Fetch 20.9 MB? [Y/n]" in result.stderr
    assert here() == ["base", "q"]
    assert run("sort", PHOTOS, "by quality", "--model", "q", "--top", "1").exit_code == 0
    result = run("models", "remove", "base")
    assert (result.exit_code, "q cannot be used without base" in result.stderr) == (2, True)


# ---- afterwards ----------------------------------------------------------------------------------


def test_the_lock_holds_until_update(hub: StandIn, run: Run) -> None:
    first = hub.add("owner/q", FILES)
    run("models", "pull", "hf:owner/q", "--yes")
    second = hub.add("owner/q", {**FILES, "README.md": FILES["README.md"] + b"more\n"})

    def row() -> dict[str, str]:
        found = json.loads(run("models", "list", "--json").stdout)
        return next(row for row in found if row["name"] == "q")

    run("models", "pull", "hf:owner/q", "--yes")
    assert (row()["revision"], row()["pinned"]) == (first, "by the lock file")
    run("models", "remove", "q", "--yes")
    run("models", "pull", "hf:owner/q", "--yes")
    assert row()["revision"] == first
    result = run("models", "pull", "hf:owner/q", "--update", "--yes")
    assert f"it replaces revision {first[:12]}" in result.stderr
    assert row()["revision"] == second
    assert locked(load_settings())["hf:owner/q"].revision == second


def test_verify_finds_an_altered_file_and_its_advice_repairs(hub: StandIn, run: Run) -> None:
    hub.add("owner/q", FILES)
    run("models", "pull", "hf:owner/q", "--as", "mine", "--yes")
    card = load_settings().models_dir / "mine" / "README.md"
    card.write_bytes(card.read_bytes() + b"!")
    result = run("models", "verify", "mine")
    assert (result.exit_code, "was altered" in result.stdout) == (3, True)
    advice = result.stderr.strip().partition(": ")[2].split(", then ")
    for line in advice:
        assert run(*line.split()[1:], "--yes").exit_code == 0
    assert run("models", "verify", "mine").stdout == "mine\tok\n"


def test_an_interrupted_pull_says_what_is_kept_and_goes_on(
    hub: StandIn, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/q", FILES)
    most = len(FILES["config.json"])

    def interrupt(self: object, done: int, total: int) -> None:
        if done > most:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("imgrank.cli.models_hub.Transfer.progress", interrupt)
        result = run("models", "pull", "hf:owner/q", "--yes")
        assert "interrupted. 3 kB of 1.7 MB are kept. The same line goes on" in result.stderr
        most += len(FILES["README.md"])
        result = run("models", "pull", "hf:owner/q", "--yes")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "interrupted. 7 kB of 1.7 MB are kept. The same line goes on" in result.stderr
    assert "q: its pull is not finished" in run("models", "list").stderr
    staged = load_settings().models_dir / ".pull-q"
    assert (staged / "README.md").is_file()
    shown = json.loads(run("models", "list", "--here", "--json").stdout)
    assert {row["state"] for row in shown} == {"embedded"}  # no model was made
    hub.requests.clear()
    assert run("models", "pull", "hf:owner/q", "--yes").exit_code == 0
    assert not any("README.md" in request for request in hub.requests)
    assert here() == ["q"]


def test_ctrl_c_at_the_question_says_that_nothing_was_fetched(
    hub: StandIn, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/q", FILES)
    result = run("models", "pull", "hf:owner/q", answer="")  # the end of input, as Ctrl-C is
    assert (result.exit_code, here(), fetched(hub)) == (130, [], False)
    assert result.stderr.endswith("imgrank: interrupted. Nothing was fetched.\n")

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imgrank.models.plan.plan", interrupt)
    result = run("models", "pull", "hf:owner/q", "--yes")
    assert (result.exit_code, "Nothing was fetched." in result.stderr) == (130, True)


def test_what_was_pulled_works_without_a_network(hub: StandIn, run: Run) -> None:
    hub.add("owner/q", FILES)
    run("models", "pull", "hf:owner/q", "--yes")
    hub.close()
    result = run("sort", PHOTOS, "by image quality", "--model", "q", "--offline", "--top", "1")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
    assert run("models", "verify", "q").exit_code == 0


@pytest.mark.parametrize("kind", ["gated", "private", "missing"])
def test_what_may_not_be_read_names_the_next_step(hub: StandIn, run: Run, kind: str) -> None:
    if kind != "missing":
        hub.add("owner/q", FILES, gated=kind == "gated", private=kind == "private")
    result = run("models", "pull", "hf:owner/q", "--yes")
    assert (result.exit_code, here()) == (3, [])
    assert "HF_TOKEN" in result.stderr
    assert "hf auth login" in result.stderr


# ---- on a terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize(("typed", "status", "made"), [(b"y\n", 0, ["q"]), (b"n\n", 1, [])])
def test_on_a_real_terminal_it_asks(
    hub: StandIn, home: Path, typed: bytes, status: int, made: list[str]
) -> None:
    hub.add("owner/q", FILES)
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "imgrank", "models", "pull", "hf:owner/q"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(follower)
    seen = b""
    while b"]:" not in seen:
        seen += os.read(leader, 1000)
    os.write(leader, typed)
    out, _ = child.communicate(timeout=60)
    os.close(leader)
    assert b"Fetch 1.7 MB? [Y/n]:" in seen
    assert (child.returncode, here()) == (status, made)
    assert out.decode().strip() == (str(load_settings().models_dir / "q") if made else "")
