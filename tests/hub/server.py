"""A stand-in for the Hub on 127.0.0.1: the parts of its HTTP interface that huggingface_hub uses.

Two servers, as there: the Hub (look-ups, small files, commits) and its store of large files, under
another host name, to which the Hub redirects. The client is unmodified. Not here: Xet, for which
the client opens connections of its own (HF_HUB_DISABLE_XET=1, which the fixture sets, stops that).

    hub.add("owner/repo", {"config.json": b"..."})  -> the new commit; content replaces all before
    hub.fail("model.safetensors", "alter")          -> the next requests whose path has that in it
    hub.requests                                    -> "GET /api/models/owner/repo", in order
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from serving import Fault, Handler, Quiet

LARGE = (".safetensors", ".bin", ".pth", ".pt")
TOKEN = "hf_the_right_one"


@dataclass
class Repo:
    """commits: sha -> files.  refs: branches and tags.  lfs: names kept in the large store."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)
    private: bool = False
    gated: bool = False
    licence: str = ""


class StandIn:
    """The two servers and what they hold; closed by `close`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: list[tuple[str, str]] = []  # (request, authorization) of every request
        self.served: list[tuple[str, str, int]] = []  # (path, range asked for, bytes of the file)
        self.faults: list[Fault] = []
        self.closing = threading.Event()
        self.stalled = threading.Event()  # set once a request has been left waiting
        self._guard = threading.Lock()
        self._servers = [_serve(self, HubHandler), _serve(self, StoreHandler)]
        self.url = f"http://127.0.0.1:{self._servers[0].server_port}"
        self.store_url = f"http://localhost:{self._servers[1].server_port}"

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        lfs: Iterable[str] = (),
        private: bool = False,
        gated: bool = False,
        licence: str = "mit",
        tag: str = "",
    ) -> str:
        """A new commit on main, which holds these files and no others; its sha."""
        repo = self.repos.setdefault(repo_id, Repo())
        repo.private, repo.gated, repo.licence = private, gated, licence
        repo.lfs |= set(lfs) | {name for name in files if name.endswith(LARGE)}
        return self.commit(repo, dict(files), tag)

    def commit(self, repo: Repo, files: dict[str, bytes], tag: str = "") -> str:
        parts = [repo.refs.get("main", ""), *(n + sha256(d) for n, d in sorted(files.items()))]
        sha = hashlib.sha1("\n".join(parts).encode()).hexdigest()
        repo.commits[sha] = files
        for ref in ("main", *([tag] if tag else [])):
            repo.refs[ref] = sha
        self.large.update({sha256(files[n]): files[n] for n in repo.lfs if n in files})
        return sha

    def fail(
        self,
        part: str,
        how: str | int,
        *,
        times: int | None = None,
        method: str = "",
        code: str = "",
        at: int = 10,
    ) -> None:
        """Requests whose path holds `part` go wrong, the first `times` of them or always.

        code: of X-Error-Code.   at: after how many bytes of the file a truncated answer ends.
        """
        self.faults.append(Fault(part, how, times, method, code, at))

    def fault(self, method: str, path: str) -> Fault | None:
        redirected = method == "GET" and "/resolve/" in path and path.endswith(LARGE)
        with self._guard:
            for fault in self.faults:
                if redirected and isinstance(fault.how, str):
                    continue  # about content, which the store sends
                if fault.part in path and fault.method in ("", method) and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def close(self) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()


class StoreHandler(Handler):
    """/OWNER/REPOSITORY/SHA256/FILE to read, /upload/SHA256 to write; it is shown no token."""

    def do_GET(self) -> None:  # noqa: N802 (the name is the base class's)
        if (fault := self.start()) and isinstance(fault.how, int):
            return
        oid = self.path.split("/")[-2]
        self.reply_file(self.hub.large[oid], {"ETag": f'"{oid}"'}, fault)

    def do_PUT(self) -> None:  # noqa: N802 (the name is the base class's)
        if self.start() is None:
            self.hub.large[self.path.rpartition("/")[2]] = self.body
            self.reply(b"")


class HubHandler(Handler):
    """The Hub's own addresses."""

    def do_GET(self) -> None:  # noqa: N802 (the name is the base class's)
        fault = self.start()
        if fault and (isinstance(fault.how, int) or self.command == "HEAD"):
            return
        path, _, query = self.path.partition("?")
        if path == "/api/whoami-v2":
            self.reply_json({"type": "user", "name": "owner", "orgs": []})
        elif path.startswith("/api/models/"):
            if fault and fault.how == "stall":
                self._wait()
                return
            owner, name, *rest = path.removeprefix("/api/models/").split("/")
            revision = "/".join(rest[1:]) if rest else "main"
            self._info(f"{owner}/{name}", revision, "blobs" in parse_qs(query))
        else:
            owner, name, _, revision, *file = path[1:].split("/")
            self._resolve(f"{owner}/{name}", revision, "/".join(file), fault)

    def do_HEAD(self) -> None:  # noqa: N802 (the name is the base class's)
        self.do_GET()

    def do_POST(self) -> None:  # noqa: N802 (the name is the base class's)
        if self.start():
            return
        path = urlsplit(self.path).path
        if path == "/api/repos/create":
            self._create(json.loads(self.body))
        elif path == "/api/validate-yaml":
            self.reply_json({"errors": [], "warnings": []})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(self.body))
        elif path.endswith("/verify"):
            asked = json.loads(self.body)
            held = self.hub.large.get(asked["oid"], b"")
            self.reply(b"", 200 if sha256(held) == asked["oid"] else 422)
        else:
            owner, name, what, _ = path.removeprefix("/api/models/").split("/")
            {"preupload": self._preupload, "commit": self._commit}[what](f"{owner}/{name}")

    def _repo(self, repo_id: str, content: bool = False) -> Repo | None:
        """The repository if it may be read; else it was refused as the Hub does."""
        repo, authorised = self.hub.repos.get(repo_id), self._authorised()
        if authorised is None:
            self.reply(b"", 401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repo is None or (repo.private and not authorised):
            self.refuse(404 if authorised else 401, "RepoNotFound")
        elif content and repo.gated and not authorised:
            self.refuse(401, "GatedRepo")
        else:
            return repo
        return None

    def _authorised(self) -> bool | None:
        """None for a wrong token."""
        given = self.headers.get("Authorization", "")
        return None if given not in ("", f"Bearer {TOKEN}") else bool(given)

    def _commit_of(self, repo: Repo, revision: str) -> str | None:
        sha = repo.refs.get(revision, revision)
        if sha in repo.commits:
            return sha
        self.refuse(404, "RevisionNotFound")
        return None

    def _info(self, repo_id: str, revision: str, blobs: bool) -> None:
        repo = self._repo(repo_id)
        sha = self._commit_of(repo, revision) if repo else None
        if repo is None or sha is None:
            return
        files = repo.commits[sha]
        card = _front_matter(files.get("README.md", b"")) or {"license": repo.licence}
        self.reply_json(
            {
                "_id": "0" * 24,
                "id": repo_id,
                "modelId": repo_id,
                "sha": sha,
                "private": repo.private,
                "gated": "auto" if repo.gated else False,
                "disabled": False,
                "tags": [f"license:{card['license']}"] if card.get("license") else [],
                "cardData": card,
                "siblings": [
                    {"rfilename": name} | (_blob(data, name in repo.lfs) if blobs else {})
                    for name, data in sorted(files.items())
                ],
            }
        )

    def _resolve(self, repo_id: str, revision: str, name: str, fault: Fault | None) -> None:
        repo = self._repo(repo_id, content=True)
        sha = self._commit_of(repo, revision) if repo else None
        if repo is None or sha is None:
            return
        data = repo.commits[sha].get(name)
        if data is None:
            self.refuse(404, "EntryNotFound")
        elif name in repo.lfs:
            oid = sha256(data)
            headers = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data))}
            headers |= {"X-Repo-Commit": sha}
            headers["Location"] = f"{self.hub.store_url}/{repo_id}/{oid}/{name}"
            self.reply(b"", 302, headers)
        else:
            headers = {"ETag": f'"{git_sha1(data)}"', "X-Repo-Commit": sha}
            self.reply_file(data, headers, fault)

    def _create(self, asked: dict[str, Any]) -> None:
        repo_id = f"{asked['organization']}/{asked['name']}"
        if not self._authorised():
            self.refuse(401)
        elif repo_id in self.hub.repos:
            url = f"{self.hub.url}/{repo_id}"
            self.reply_json({"error": "You already created this model repo", "url": url}, 409)
        else:
            self.hub.add(repo_id, {}, private=asked.get("visibility") == "private", licence="")
            self.reply_json({"url": f"{self.hub.url}/{repo_id}", "name": repo_id, "id": "0"})

    def _preupload(self, repo_id: str) -> None:
        def held(data: bytes, name: str) -> str:
            return sha256(data) if name.endswith(LARGE) else git_sha1(data)

        if repo := self._repo(repo_id):
            head = repo.commits[repo.refs["main"]]
            files = [file["path"] for file in json.loads(self.body)["files"]]
            self.reply_json(
                {
                    "files": [
                        {
                            "path": name,
                            "uploadMode": "lfs" if name.endswith(LARGE) else "regular",
                            "shouldIgnore": False,
                            "oid": held(head[name], name) if name in head else None,
                        }
                        for name in files
                    ]
                }
            )

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for item in asked["objects"]:
            if item["oid"] not in self.hub.large:
                upload = {"href": f"{self.hub.store_url}/upload/{item['oid']}"}
                item = {**item, "actions": {"upload": upload}}
                item["actions"]["verify"] = {"href": f"{self.hub.url}/verify"}
            objects.append(item)
        self.reply_json({"transfer": "basic", "objects": objects})

    def _commit(self, repo_id: str) -> None:
        repo = self._repo(repo_id)
        if repo is None:
            return
        files = dict(repo.commits[repo.refs["main"]])
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
                repo.lfs.add(value["path"])
        sha = self.hub.commit(repo, files)
        url = f"{self.hub.url}/{repo_id}/commit/{sha}"
        self.reply_json({"success": True, "commitOid": sha, "commitUrl": url})


def _serve(hub: StandIn, handler: type[Handler]) -> ThreadingHTTPServer:
    server = Quiet(("127.0.0.1", 0), type(handler.__name__, (handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _pointer(data: bytes) -> bytes:
    head = "version https://git-lfs.github.com/spec/v1"
    return f"{head}\noid sha256:{sha256(data)}\nsize {len(data)}\n".encode()


def _oid(data: bytes, large: bool) -> str:
    return git_sha1(_pointer(data)) if large else git_sha1(data)


def _blob(data: bytes, large: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"size": len(data), "blobId": _oid(data, large)}
    if large:
        pointer = len(_pointer(data))
        facts["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": pointer}
    return facts


def _front_matter(card: bytes) -> dict[str, Any]:
    before, _, rest = card.decode().partition("---\n")
    return yaml.safe_load(rest.partition("\n---")[0]) if not before and rest else {}
