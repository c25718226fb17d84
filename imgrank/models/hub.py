"""The Hub, by its own client: what a repository holds, and one file of it, checked.

Everything here is `huggingface_hub` as it is installed (1.x or 2.x). Its constants are read from
the environment when it is imported; so that HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE hold at the
time of a call, endpoint and token are handed to each call and offline is refused before any.

* Content is checked here, not by the client: sha256 where the Hub keeps one (LFS, Xet), else the
  git blob's sha1. The client compares sizes alone. What brought the bytes (plain HTTP, hf_xet's
  chunks, the Hub's cache on this machine) makes no difference to the check.
* Large files go by plain HTTP, and not by hf_xet, so that an interrupted one goes on where it
  stopped (`models/hub_parts.py`); small ones, and what the Hub's cache here has, by the client's
  `hf_hub_download`.
* Whatever the client or its transport raises becomes one ModelUnavailable, with the next step;
  the mapping is `models/hub_errors.py`.
* Time is bounded. A look-up takes one try of HF_HUB_ETAG_TIMEOUT seconds (10). The client tries a
  download that gives no byte for HF_HUB_DOWNLOAD_TIMEOUT seconds (10) six times, a second apart;
  a HEAD request that stalls or a server that fails (408, 429, 5xx) at most seven times, in less
  than seven minutes, but for a 429 that asks for a longer wait (Retry-After): the client obeys.
  Calls of an upload, for which the client sets no limit, get `UPLOAD_TIMEOUT`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import ModelUnavailable
from imgrank.models.hub_errors import explained, without_password
from imgrank.models.hub_parts import append, misfit, part_name, resumable
from imgrank.models.spec import file_sha256
from imgrank.settings import Settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "RemoteFile",
    "Repository",
    "api",
    "check",
    "endpoint",
    "fetch",
    "look_up",
    "quiet",
    "refuse_offline",
    "uploading",
]

UPLOAD_TIMEOUT = 120.0  # seconds without an answer: a commit of large files takes the Hub a while
_TRUE = {"1", "ON", "YES", "TRUE"}  # as the client reads it


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. sha256: "" if the Hub keeps it in git; blob: its git sha1 then."""

    name: str
    bytes: int
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit. licence: as the Hub names it, "" if it names none."""

    name: str
    revision: str
    files: Mapping[str, RemoteFile]
    licence: str = ""
    gated: bool = False


def endpoint() -> str:
    """HF_ENDPOINT as it is now, or the Hub itself."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT", "").strip() or constants.ENDPOINT).rstrip("/")


def _forbidden_by(settings: Settings) -> str:
    """What forbids the network (an option or a variable), "" if nothing does."""
    if settings.offline:
        return settings.offline_by or "the setting offline"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").strip().upper() in _TRUE:
            return name
    return ""


def refuse_offline(settings: Settings, what: str, *, here: bool = False) -> None:
    """Raises ModelUnavailable before any socket is opened. what: "fetching NAME".

    here: it is about a model of this machine, so that a copy of another's would not help.
    """
    if reason := _forbidden_by(settings):
        copy = f", or copy the model's folder from a machine that has it into {settings.models_dir}"
        undo = f"Leave out {reason}" if reason.startswith("--") else "Unset that"
        raise ModelUnavailable(
            f"{what} needs the network, and {reason} forbids it. {undo}{'' if here else copy}."
        )


def api() -> HfApi:
    """The client, with today's endpoint and token (HF_TOKEN, or from `hf auth login`)."""
    from huggingface_hub import HfApi, get_token

    # False: an absent token is not to be looked for again, at another time and place.
    return HfApi(endpoint=endpoint(), token=get_token() or False)


def look_up(repository: str, revision: str | None) -> Repository:
    """What a repository holds at a commit, tag or branch (None: its main branch). One request.

    Raises ModelUnavailable.
    """
    from huggingface_hub import constants

    with explained(repository, revision, endpoint()), quiet():
        info = api().model_info(
            repository,
            revision=revision,
            files_metadata=True,
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
        )
        files = {
            sibling.rfilename: RemoteFile(
                sibling.rfilename,
                int(sibling.size or 0),
                (sibling.lfs.sha256 if sibling.lfs else "") or "",
                "" if sibling.lfs else sibling.blob_id or "",
            )
            for sibling in info.siblings or ()
        }
        return Repository(repository, str(info.sha), files, _licence(info), bool(info.gated))


def fetch(
    repository: Repository, name: str, folder: Path, count: Callable[[int], None] = lambda n: None
) -> Path:
    """One file of the repository, whole and checked, in `folder`.

    count: called with the number of bytes that came (or, negative, that have to come again).
    A file of this content that is there already is not fetched again, and a large one goes on
    where an earlier call stopped. Raises ModelUnavailable; what does not have the promised content
    is deleted.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    remote, path = repository.files[name], folder / name
    if path.is_file() and not _differs(path, remote):
        count(remote.bytes)
        return path
    path.unlink(missing_ok=True)
    with explained(repository.name, repository.revision, endpoint(), name), quiet():
        cached = try_to_load_from_cache(repository.name, name, revision=repository.revision)
        if resumable(remote) and not isinstance(cached, str):
            return _fetch_on(repository, remote, path, count)
        hf_hub_download(
            repository.name,
            name,
            revision=repository.revision,
            local_dir=folder,
            endpoint=endpoint(),
            token=api().token,
            tqdm_class=_bar(count),
        )
    check(path, remote, repository)
    return path


def _fetch_on(
    repository: Repository, remote: RemoteFile, path: Path, count: Callable[[int], None]
) -> Path:
    """A large file, checked, at `path`; first as a part beside it, which an interruption leaves.

    A part that was gone on with and turns out wrong is fetched once more, from its start.
    """
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(
        repository.name, remote.name, revision=repository.revision, endpoint=endpoint()
    )
    part, token = path.with_name(part_name(remote)), api().token
    if part.is_file():
        try:
            append(part, remote, url, token, count, _bar)
        except OSError as error:
            if not misfit(error, part, remote):
                raise
        if not _differs(part, remote):
            return part.replace(path)
        count(-part.stat().st_size)
        part.unlink()
    append(part, remote, url, token, count, _bar)
    part.replace(path)
    check(path, remote, repository)
    return path


def check(path: Path, remote: RemoteFile, repository: Repository) -> None:
    """Raises ModelUnavailable, and deletes the file, if it is not what the Hub promised."""
    if not remote.sha256 and not remote.blob:
        path.unlink()
        raise ModelUnavailable(
            f"{without_password(endpoint())} gives no hash of {remote.name} in {repository.name}, "
            "so it cannot be checked and is not kept. If HF_ENDPOINT names a mirror, use another."
        )
    if difference := _differs(path, remote):
        path.unlink()
        raise ModelUnavailable(
            f"{remote.name} of {repository.name}@{repository.revision[:8]} arrived altered: "
            f"{difference}. It was deleted, and no model was made of it. Pull again; if it stays "
            "so, something between here and the Hub (a proxy, a mirror, a damaged cache in "
            "HF_HOME) changes files."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """The client prints nothing meanwhile, neither bars nor warnings about its retries; and says
    nothing of this machine: with telemetry on, it asks the Hub which coding agents there are, to
    tell it whether one of them runs it."""
    import warnings

    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
    from huggingface_hub.utils import logging as hub_logging

    before, telemetry = hub_logging.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
    hub_logging.set_verbosity(logging.CRITICAL)
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        with warnings.catch_warnings():
            # About HF_HUB_DISABLE_PROGRESS_BARS=0, and how the client calls its own transport.
            warnings.simplefilter("ignore")
            with disable_progress_bars():
                yield
    finally:
        hub_logging.set_verbosity(before)
        constants.HF_HUB_DISABLE_TELEMETRY = telemetry


@contextmanager
def uploading(repository: str) -> Iterator[HfApi]:
    """The client for calls that change a repository, with a limit of time.

    Raises ModelUnavailable for whatever goes wrong inside.
    """
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    with explained(repository, None, endpoint()), quiet():
        session = get_session()
        before, session.timeout = session.timeout, UPLOAD_TIMEOUT
        try:
            yield api()
        finally:
            session.timeout = before


def _licence(info: Any) -> str:
    card = info.card_data
    licence = getattr(card, "license", None) or ""
    if licence in ("", "other"):
        named = getattr(card, "license_name", None)
        tagged = [tag for tag in info.tags or () if tag.startswith("license:")]
        licence = named or licence or (tagged[0].partition(":")[2] if tagged else "")
    return ", ".join(licence) if isinstance(licence, list) else str(licence)


def _differs(path: Path, remote: RemoteFile) -> str:
    """What is wrong with a file, "" if nothing is. Without any promised hash nothing is known."""
    size = path.stat().st_size
    if size != remote.bytes:
        return f"it has {size:,} bytes, not {remote.bytes:,}"
    if remote.sha256:
        return "" if file_sha256(path) == remote.sha256 else "its sha256 is another"
    if not remote.blob:
        return "it has no hash to compare with"
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            blob.update(part)
    return "" if blob.hexdigest() == remote.blob else "its git hash is another"


def _bar(count: Callable[[int], None], counted: int = 0) -> type[Any]:
    """A bar, as the client wants one, that draws nothing and counts.

    counted: bytes that `count` knows of; the server may make the client begin before them.
    """
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]
            count(int(kwargs.get("initial") or 0) - counted)

        def update(self, n: float | None = 1) -> None:
            count(int(n or 0))

        def update_transfer(self, n: float) -> None:
            """Bytes on the wire, which hf_xet counts apart; so it opens no second bar."""

        def set_transfer_postfix_str(self, *args: Any, **kwargs: Any) -> None:
            """Draws nothing either."""

    return Bar
