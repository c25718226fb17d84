"""The towers of a backbone on ONNX Runtime (extra `onnx`): no torch is imported to run them.

`models/onnx_export.py` writes each tower once into the cache, when torch has it loaded anyway, and
compares it with torch on real pixels and on odd prompts:

    CACHE/onnx/IDENTITY/image/   graph.onnx, weights.bin, export.json
    CACHE/onnx/IDENTITY/text/    the same, and the tokenizer's file

IDENTITY is the backbone's, so another model never meets this graph. `export.json` is the verdict,
kept as long as torch and ONNX Runtime stay the versions they were: a graph that differs from torch
is not taken, and that is remembered too. One that is slower serves the first pictures of a run,
for it starts in a fraction of the time, and leaves the rest to torch. Features are float16 of
float32 results and take the place of torch's in the store; how far they may differ stands in
`onnx_export.py`.

Pictures run side by side, one on each core: one picture on all cores was measured slower, as with
torch (`device.solo_pool`).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from imgrank.errors import MissingExtra
from imgrank.models.spec import BackboneSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imgrank.models.backbone import Backbone
    from imgrank.models.tokenizer import Tokenizer

__all__ = [
    "Engine",
    "Export",
    "Graph",
    "ImageGraph",
    "TextGraph",
    "Wish",
    "exports",
    "open_engine",
    "versions",
]

Wish = Literal["auto", "torch", "onnx"]
Tower = Literal["image", "text"]
Result = TypeVar("Result")
FORMAT = 1
"""Of the exported folders; raise it when what a graph computes or takes changes."""

GRAPH, WEIGHTS, VERDICT = "graph.onnx", "weights.bin", "export.json"
ENOUGH = 64
"""Pictures in one process that are worth loading torch, where that is quicker once it is there; and
that are worth exporting the image tower."""

SHARE = 4
"""Pictures or prompts that one core takes at once, at most."""


class Graph:
    """One exported tower in a session of ONNX Runtime. Its weights are a file of their own, which
    is mapped into memory: of a table of words only the rows are read that a prompt has.

    packed: weights are laid out anew for speed, which costs more than a few prompts gain.
    Raises what ONNX Runtime raises (of several kinds) if it is not a graph that can be run.
    """

    def __init__(self, folder: Path, packed: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong is said by the exception
        options.add_session_config_entry("session.disable_prepacking", "0" if packed else "1")
        self._session: Any = onnxruntime.InferenceSession(
            str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
        )
        self.outputs: list[str] = [out.name for out in self._session.get_outputs()]
        self.cores = _cores()
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def side_by_side(self, work: Callable[[Any], Result], items: Any) -> list[Result]:
        """`work` on slices of the items, one a core at a time; results in order."""
        if self._pool is None or self._process != os.getpid():  # threads do not survive a fork
            self._pool = ThreadPoolExecutor(self.cores, "onnx")
            self._process = os.getpid()
        share = max(1, min(SHARE, -(-len(items) // self.cores)))
        parts = [items[i : i + share] for i in range(0, len(items), share)]
        return list(self._pool.map(work, parts))

    def run(self, x: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """One batch -> the outputs by name; may be called from several threads at once."""
        return dict(zip(self.outputs, self._session.run(None, {"x": x}), strict=True))


class ImageGraph(Graph):
    """Pictures -> features."""

    def __init__(self, folder: Path, spec: BackboneSpec, facts: Mapping[str, Any]) -> None:
        super().__init__(folder, packed=True)
        self.spec = spec
        self.fast = bool(facts["fast"])

    def features(self, pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, NDArray[Any]]]:
        """uint8 [S, S, 3] each -> float16 features of each, as `Backbone.encode_images` gives."""
        return [row for part in self.side_by_side(self._part, pictures) for row in part]

    def _part(self, pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, NDArray[Any]]]:
        import numpy as np

        found = self.run(self.normalise(pictures))
        arrays = {name: array.astype(np.float16) for name, array in found.items()}
        return [{name: array[i] for name, array in arrays.items()} for i in range(len(pictures))]

    def normalise(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """uint8 [S, S, 3] each -> [B, 3, S, S], by the same steps as `Backbone.normalise`."""
        import numpy as np

        x = np.stack(pictures).astype(np.float32)
        x /= np.float32(255)
        x -= np.array(self.spec.mean, np.float32)
        x /= np.array(self.spec.std, np.float32)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


class TextGraph(Graph):
    """Prompts -> `embedding` [n, E], L2-normalised, or `tokens` [n, T, Dt], float32."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        from imgrank.models.tokenizer import open_tokenizer

        super().__init__(folder, packed=False)
        self.tokenize: Tokenizer = open_tokenizer(folder, facts["tokenizer"])

    def encode(self, kind: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """kind: the name of the output."""
        import numpy as np

        ids = self.tokenize(texts)
        return np.concatenate(self.side_by_side(lambda part: self.run(part)[kind], ids))


@dataclass(slots=True)
class Engine:
    """Runs what can be run without torch, and has exports made; one for each backbone.

    folder: of the exports of this backbone.  wish: "auto" or "onnx"; the latter leaves nothing to
    a quicker torch, and exports at the first picture.  images: whether pictures may run
    here (not where a GPU may be waiting, nor in another precision than float32).  notify: hears
    that an export is made, and what speaks against one.
    """

    folder: Path
    spec: BackboneSpec
    wish: Wish
    images: bool
    notify: Callable[[str], None] = lambda text: None
    _image: ImageGraph | None = None
    _text: TextGraph | None = None
    _done: int = 0  # pictures through the graph
    _seen: int = 0  # pictures through torch
    _tried: set[Tower] = field(default_factory=set)  # exports: a full disk is met once
    _broken: set[Tower] = field(default_factory=set)
    _told: bool = False  # that pictures cannot run here although that is wished

    def image_features(
        self, pictures: Sequence[NDArray[np.uint8]]
    ) -> list[dict[str, NDArray[Any]]] | None:
        """Features of each picture; None if torch has to do it."""
        if not self.images and self.wish == "onnx" and not self._told:
            self._told = True
            self.notify("pictures go through torch: ONNX Runtime runs them in float32 only")
        if self._image is None and self.images:
            self._image = self._opened("image", lambda at, facts: ImageGraph(at, self.spec, facts))
        if self._image is None:
            return None
        if self.wish == "auto" and not self._image.fast and self._done >= ENOUGH:
            return None
        self._done += len(pictures)
        return self._image.features(pictures)

    def encode(self, kind: str, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """`embedding` or `tokens` of texts; None if torch has to do it."""
        graph = self._text_graph()
        return graph.encode(kind, texts) if graph else None

    def token_ids(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """What the text tower reads, [n, T], padded; None if torch has to do it."""
        graph = self._text_graph()
        return graph.tokenize(texts) if graph else None

    @property
    def note(self) -> str:
        """Where the pictures ran; "" if not here."""
        return f"CPU, {self._image.cores} threads: ONNX Runtime" if self._image else ""

    def saw_images(self, backbone: Backbone, pictures: Sequence[NDArray[np.uint8]]) -> None:
        """To be told of pictures that torch had to do: exports once there are enough of them."""
        self._seen += len(pictures)
        if self.images and (self._seen >= ENOUGH or self.wish == "onnx"):
            self._export("image", backbone, pictures)

    def saw_text(self, backbone: Backbone) -> None:
        """To be told that torch had to load the text tower."""
        self._export("text", backbone, ())

    def _text_graph(self) -> TextGraph | None:
        if self._text is None:
            self._text = self._opened("text", TextGraph)
        return self._text

    def _export(
        self, tower: Tower, backbone: Backbone, pictures: Sequence[NDArray[np.uint8]]
    ) -> None:
        if tower in self._tried or self._verdict(tower) is not None or not _can_export():
            return
        self._tried.add(tower)
        if problem := _unwritable(self.folder):
            if self.wish == "onnx":
                self.notify(f"nothing is exported for ONNX Runtime: {problem}")
            return
        from imgrank.models.onnx_export import export

        self.notify(f"exporting the {tower} tower of {self.spec.name} for ONNX Runtime, once")
        problem = export(tower, backbone, self.folder / tower, self.spec, pictures)
        self._broken.discard(tower)
        if problem:
            self.notify(f"  {problem}")

    def _opened(self, tower: Tower, open_graph: Callable[[Path, Mapping[str, Any]], Any]) -> Any:
        """The graph of a tower, if there is one to take; a damaged one is removed."""
        verdict = None if tower in self._broken else self._verdict(tower)
        if verdict is None or not verdict["agrees"] or not find_spec("onnxruntime"):
            return None
        try:
            return open_graph(self.folder / tower, verdict)
        except Exception as error:  # ONNX Runtime and the tokenizers have each their own kinds
            self.notify(f"the exported {tower} tower of {self.spec.name} is damaged ({error})")
            self._broken.add(tower)
            shutil.rmtree(self.folder / tower, ignore_errors=True)
            return None

    def _verdict(self, tower: Tower) -> dict[str, Any] | None:
        """What is known of a tower's export; None if nothing is, or of other versions."""
        try:
            verdict = json.loads((self.folder / tower / VERDICT).read_text(encoding="utf-8"))
            current = verdict["format"] == FORMAT and verdict["identity"] == self.spec.identity
            current = current and verdict["versions"] == versions()
            if verdict["agrees"]:
                current = current and (self.folder / tower / GRAPH).is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return verdict if current else None


class Export(NamedTuple):
    """A folder of an exported tower, for `imgrank cache`.

    note: what speaks against it, "" if nothing does.  current: of the versions that are installed.
    """

    folder: Path
    model: str
    tower: str
    bytes: int
    note: str
    current: bool


def exports(cache: Path) -> list[Export]:
    """All that were made, whatever for; cache: the user's."""
    found = []
    for path in sorted((cache / "onnx").glob(f"*/*/{VERDICT}")):
        size = sum(file.stat().st_size for file in path.parent.iterdir())
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            said = (str(facts["model"]), path.parent.name, size, str(facts["why"]))
            current = facts["format"] == FORMAT and facts["versions"] == versions()
        except (OSError, ValueError, KeyError, TypeError):
            said, current = ("?", path.parent.name, size, "cannot be read"), False
        found.append(Export(path.parent, *said, current))
    return found


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Of what made a graph and of what runs it; "" if absent. Imports neither."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and not for known scores

    found = {}
    for name in ("torch", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def open_engine(
    cache: Path,
    spec: BackboneSpec,
    wish: Wish,
    device: str,
    plain: bool,
    notify: Callable[[str], None],
) -> Engine | None:
    """The engine of a backbone; None if torch is to do everything.

    cache: the user's.  plain: whether float32 will do for pictures.
    Raises MissingExtra if `wish` is "onnx" and the extra is not installed.
    """
    if wish == "torch" or device not in ("auto", "cpu"):
        return None
    if wish == "onnx" and not _can_export():
        raise MissingExtra("the engine 'onnx'", "onnx")
    images = plain and (device == "cpu" or wish == "onnx" or not _may_have_gpu())
    folder = cache / "onnx" / spec.identity[:32]
    key = (folder, wish, images)
    engine = _engines.setdefault(key, Engine(folder, spec, wish, images))
    engine.spec, engine.notify = spec, notify
    return engine


_engines: dict[tuple[Path, Wish, bool], Engine] = {}  # a session is opened once in a process


def _unwritable(folder: Path) -> str:
    """Why nothing can be put into a folder, which is made; "" if something can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return "" if os.access(folder, os.W_OK) else f"{folder} is read-only"


def _can_export() -> bool:
    return bool(find_spec("onnxruntime") and find_spec("onnx"))


def _may_have_gpu() -> bool:
    """Whether torch might find a GPU, by signs that can be seen without importing it."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        root = Path(os.environ.get("SYSTEMROOT", "C:\\Windows"))
        return (root / "System32" / "nvcuda.dll").exists()
    return any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/kfd", "/dev/dxg"))


def _cores() -> int:
    """Cores that this process may use; OMP_NUM_THREADS counts, as it does for torch."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
