"""The walls between the rooms, read from the import graph: imports point downwards only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "imgrank"
TORCH = ("torch", "open_clip", "timm", "torchvision", "transformers", "peft")
WORDS = ("instruction.py", "wording.py", "tasks.py", "nouns.py", "settings.py", "errors.py")
WORDS += ("terms.py",)
JOINING = ("pipeline.py", "scoring.py", "refining.py", "bursts.py", "saying.py", "opening.py")
JOINING += ("reranking.py", "embedding.py", "vectors", "scopes.py", "listwise")
CALLS = ("api.py", "calls.py", "comparing.py", "searching.py", "estimates")
ABOVE = ("imgrank.cli", "imgrank.api", "imgrank.calls", "imgrank.comparing", "imgrank.estimates")
ABOVE += ("imgrank.searching",)
LAB_ROOMS = ("train", "evaluate", "data")
LABS = tuple(f"imgrank.{room}" for room in LAB_ROOMS)


def imports(file: Path, *, lazy: bool = True) -> set[str]:
    """Modules a file imports; with lazy=False only those imported when the file itself is."""
    tree = ast.parse(file.read_text())
    nodes = ast.walk(tree) if lazy else (n for n in tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(*rooms: str) -> list[Path]:
    found: list[Path] = []
    for room in rooms:
        path = PACKAGE / room
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert found
    return found


def offenders(rooms: tuple[str, ...], banned: tuple[str, ...], *, lazy: bool = True) -> list[str]:
    return [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in files(*rooms)
        for name in sorted(imports(file, lazy=lazy))
        if any(name == b or name.startswith(b + ".") for b in banned)
    ]


@pytest.mark.parametrize(
    ("rooms", "banned"),
    [
        (("images", "store", "results", "files"), TORCH),
        (WORDS, (*TORCH, "numpy", "PIL", "imgrank.models", "imgrank.rankers", "imgrank.pipeline")),
        (
            ("images", "store", "results", "files", "rankers", "models", *LAB_ROOMS),
            ("click",),
        ),
        (
            ("images", "store", "results", "files", "rankers", "models", *WORDS, *JOINING),
            (*LABS, *ABOVE),
        ),
        (
            ("images", "store", "results", "files"),
            ("imgrank.pipeline", "imgrank.models", "imgrank.rankers.load"),
        ),
        (
            LAB_ROOMS,
            (*ABOVE, "imgrank.results.output"),
        ),
        (("data",), ("imgrank.train", "imgrank.evaluate")),
        (("evaluate",), ("imgrank.train",)),
        ((*CALLS, *JOINING), ("click", "rich", *TORCH)),
        (
            ("llm",),
            ("click", "rich", "imgrank.models", "imgrank.rankers", *TORCH, *LABS, *ABOVE),
        ),
        (("cli", *LAB_ROOMS, "llm/chat.py", "llm/rephrasing.py"), ("openai", "httpx2")),
        (
            (
                *CALLS,
                *(
                    f"cli/{name}.py"
                    for name in (
                        "sort",
                        "search",
                        "score",
                        "compare",
                        "index",
                        "age",
                        "undo",
                        "gallery",
                    )
                ),
            ),
            LABS,
        ),
    ],
)
def test_no_room_imports_upwards(rooms: tuple[str, ...], banned: tuple[str, ...]) -> None:
    assert offenders(rooms, banned) == []


def test_rankers_load_torch_only_when_they_compute() -> None:
    assert offenders(("rankers", "cli"), TORCH, lazy=False) == []


def test_only_cli_prints_or_exits() -> None:
    calls = {"print", "exit", "quit"}
    rooms = ("images", "store", "results", "files", "rankers", "models", "data")
    rooms += (*CALLS, *WORDS, *JOINING)
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in files(*rooms)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls
    ]
    assert found == []


@pytest.mark.parametrize(
    "module",
    [
        "imgrank",
        "imgrank.api",
        "imgrank.estimates.age",
        "imgrank.cli",
        "imgrank.cli.sort",
        "imgrank.cli.search",
    ],
)
def test_importing_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {TORCH!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
