"""What `imgrank models pull WISH` means: which repository, which of its files. No network.

    NAME                          of registry.toml
    hf:OWNER/REPOSITORY[@REV]     any repository; REV is a commit, a tag or a branch
    open_clip:ARCHITECTURE/TAG    OpenCLIP's own table; a tag names no revision

Files are taken by name, from the top of the repository, never by pattern: nothing else that a
repository holds reaches this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imgrank.errors import ModelUnavailable, UsageError
from imgrank.models.hub import Repository
from imgrank.models.origin import COMMIT
from imgrank.models.registry import DETECTOR, EMBEDDED, Listed, listed, tags_of
from imgrank.models.spec import CONFIG, RECORD, WEIGHTS

__all__ = [
    "PICKLES",
    "Wish",
    "choose_backbone",
    "choose_head",
    "embedded",
    "folder_name",
    "parse_wish",
    "refuse_listed",
]

PICKLES = ("open_clip_pytorch_model.bin", "open_clip_model.bin")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "merges.txt.gz",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
HEADS = (".safetensors", ".pth", ".pt", ".bin")
_HF = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@(\S+))?")
_TAG = re.compile(r"open_clip:([^/\s]+)/([^/\s]+)")
_NO_TAG = re.compile(r"open_clip:([^/\s]+)/?")
_PAGE = re.compile(
    r"(?:https?://)?[\w-]+(?:\.[\w-]+)+/([\w.-]+/[\w.-]+?)"
    r"(?:/(?:tree|blob|resolve)/([^/\s?#]+)[^?#]*)?/?(?:[?#].*)?"
)
LONGEST = 100  # bytes of a model's name: file systems end at 255, and ours add to it
_NAME = re.compile(r"[^\W.][\w.+-]*")


@dataclass(frozen=True, slots=True)
class Wish:
    """name: of the folder to be.   origin: as recorded, without a revision.   asked: a commit,
    a tag or a branch, "" if none was.   weights: file that OpenCLIP's table names, or "".
    carries: whether a checkpoint says that it rests on it."""

    text: str
    name: str
    origin: str
    repository: str
    asked: str = ""
    listed: Listed | None = None
    architecture: str = ""
    tag: str = ""
    weights: str = ""
    carries: bool = False

    @property
    def key(self) -> str:
        """Of the lock file."""
        return f"{self.origin}@{self.asked}" if self.asked else self.origin

    @property
    def by_commit(self) -> bool:
        """Whether the wish itself names a commit."""
        return COMMIT.fullmatch(self.asked) is not None

    @property
    def image_size(self) -> int:
        """To read pictures at, 0 for the model's own; only a table of the registry says so."""
        return self.listed.image_size if self.listed else 0


def parse_wish(text: str, name: str | None = None) -> Wish:
    """A wish of the user. name: instead of the model's own.

    Raises UsageError for what cannot be meant, ModelUnavailable for what nobody has published.
    """
    wish = _parse(text.strip(), name)
    if (EMBEDDED / folder_name(wish.name)).exists():
        raise UsageError(
            f"'{wish.name}' is a model of the package itself. Give another name: --as NAME."
        )
    refuse_listed(wish.name, wish.repository, "--as")
    return wish


def refuse_listed(name: str, repository: str = "", option: str = "--name") -> None:
    """Raises UsageError if the package's list has this name for something else.

    repository: OWNER/REPOSITORY that the model comes from, "" if it is no pull: then the names of
    what nobody can pull are free, since that is how such a model gets here.
    option: by which the user gives another name.
    """
    known = listed().get(name)
    if known is not None and known.repository != repository:
        stands = f", where it stands for {known.repository}" if known.repository else ""
        raise UsageError(
            f"'{name}' is a name of the list (imgrank models list){stands}, and this is another "
            f"model. Give another name: {option} NAME."
        )


def folder_name(name: str) -> str:
    """The name, if a model's folder may have it: never a path. Raises UsageError."""
    if not _NAME.fullmatch(name) or len(name.encode()) > LONGEST:
        raise UsageError(f"a model cannot be called '{name}': take letters, digits, - and _.")
    return name


def _parse(text: str, name: str | None) -> Wish:
    if match := _HF.fullmatch(text):
        repository, revision = match[1], match[2] or ""
        own = name or repository.partition("/")[2].lstrip(".")
        return Wish(
            text, own, f"hf:{repository}", repository, "" if revision == "main" else revision
        )
    if match := _TAG.fullmatch(text):
        return _of_tag(text, name or f"{match[1]}-{match[2]}", match[1], match[2])
    if match := _NO_TAG.fullmatch(text):
        raise UsageError(tags_of(match[1]))
    known = listed().get(text)
    if known is None and embedded(text):
        raise UsageError(f"'{text}' is in the package already: there is nothing to pull.")
    if known is None:
        raise UsageError(f"there is nothing to pull that is called '{text}'. {_instead(text)}")
    if known.unpublished or not known.origin:
        raise ModelUnavailable(
            f"'{text}' cannot be pulled: {known.unpublished or 'nobody has published it'}."
        )
    if known.kind == DETECTOR and name not in (None, text):
        raise UsageError(f"'{text}' is found by this very name: pull it without --as.")
    return Wish(
        text,
        name or text,
        known.origin,
        known.repository,
        known.revision,
        known,
        known.architecture,
        known.tag,
    )


def _instead(text: str) -> str:
    """What may have been meant by a wish that is none."""
    if page := _PAGE.fullmatch(text):
        at = f"@{page[2]}" if page[2] and page[2] != "main" else ""
        return f"That is a page: write hf:{page[1]}{at}."
    if _HF.fullmatch(f"hf:{text}"):
        return f"For a repository of the Hub write hf:{text}."
    import difflib

    names = [name for name, known in listed().items() if known.origin]
    close = difflib.get_close_matches(text, names, n=3)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return (
        f"{hint}`imgrank models list` shows the names; hf:OWNER/REPOSITORY[@REVISION] and "
        "open_clip:ARCHITECTURE/TAG can be pulled too."
    )


def embedded(text: str) -> bool:
    """Whether this is the name of a model of the package."""
    return _NAME.fullmatch(text) is not None and (EMBEDDED / text).is_dir()


def _of_tag(text: str, name: str, architecture: str, tag: str) -> Wish:
    import open_clip  # brings torch: only for this kind of wish

    facts = open_clip.get_pretrained_cfg(architecture, tag)
    if not facts:
        raise UsageError(tags_of(architecture, tag))
    place = str(facts.get("hf_hub") or "")
    if not place:
        raise ModelUnavailable(
            f"{text} is not on the Hub, only at {facts.get('url') or 'no address'}, whose content "
            "nothing vouches for. Fetch that file by hand, put it as safetensors beside an "
            "open_clip_config.json into a folder, and give the folder with --model."
        )
    owner, repository, *weights = place.split("/")
    return Wish(
        text,
        name,
        text,
        f"{owner}/{repository}",
        "",
        None,
        architecture,
        tag,
        weights[0] if weights else "",
    )


def choose_backbone(
    repository: Repository, wish: Wish, allow_pickle: bool
) -> tuple[str, tuple[str, ...]]:
    """The weights file of an OpenCLIP repository, and the small files to take with it.

    Raises ModelUnavailable if there are none, or only a pickle and that is not allowed.
    """
    names = repository.files.keys()
    extra = (Path(wish.weights).with_suffix(".safetensors").name,) if wish.weights else ()
    small = tuple(name for name in (CONFIG, RECORD, *TOKENIZER) if name in names)
    promised = [name for name in (wish.listed.files if wish.listed else ()) if name in WEIGHTS]
    for name in (*promised, *WEIGHTS, *extra):
        if name in names:
            return name, small
    pickles = [n for n in (*PICKLES, wish.weights) if n in names and not _safe(n)]
    if pickles and allow_pickle:
        return pickles[0], small
    if pickles:
        raise ModelUnavailable(
            f"{repository.name} holds its weights only as a pickle ({pickles[0]}), a format that "
            "can run programs. With --allow-pickle it is read in a way that runs nothing, and "
            "kept as safetensors."
        )
    raise ModelUnavailable(_no_weights(repository))


def choose_head(repository: Repository, known: Listed) -> str:
    """The one weights file of a published head, which is then converted. Raises ModelUnavailable.

    safetensors before pickles (which are read with weights_only).
    """
    names = [*known.files] or [name for name in repository.files if "/" not in name]
    for suffix in HEADS:
        found = [name for name in names if name.endswith(suffix) and name in repository.files]
        if len(found) == 1:
            return found[0]
        if found:
            raise ModelUnavailable(
                f"{repository.name} holds several weights files ({', '.join(found)}), and nothing "
                "says which one is meant."
            )
    raise ModelUnavailable(_no_weights(repository))


def _no_weights(repository: Repository) -> str:
    weights = [name for name in repository.files if _safe(name) or name.endswith(HEADS)]
    if _sharded(weights):
        what = "its weights are in several files, which OpenCLIP does not load"
    elif weights:
        what = f"its weights have a name that OpenCLIP does not know ({', '.join(weights[:3])})"
    else:
        what = "it holds no weights"
    return (
        f"{repository.name} cannot be used as a backbone: {what}. imgrank takes "
        f"{' or '.join(WEIGHTS)} beside {CONFIG}."
    )


def _sharded(names: Iterable[str]) -> bool:
    return any(re.search(r"-\d+-of-\d+\.", name) for name in names)


def _safe(name: str) -> bool:
    return name.endswith(".safetensors")
