"""Everything that the Hub's client and its transport raise, said in a sentence with a next step.

The transport is httpx in huggingface_hub 1.x and httpx2 in 2.x; `huggingface_hub.utils.httpx` is
whichever it is. Order matters: the client's errors are also OSErrors, some are kinds of others,
and what it could not look up it wraps into LocalEntryNotFoundError, whose cause tells the truth.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from imgrank.errors import ImgrankError, ModelUnavailable

__all__ = ["explained", "without_password"]

PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
TOKEN = "set HF_TOKEN to a token that may read it, or run `hf auth login`"


@contextmanager
def explained(
    repository: str, revision: str | None, endpoint: str, file: str = ""
) -> Iterator[None]:
    """Inside, whatever the client raises becomes a ModelUnavailable that names the next step.

    Our own errors and KeyboardInterrupt pass as they are.
    """
    try:
        yield
    except ImgrankError:
        raise
    except Exception as error:  # one place for a whole library and its transport
        what = f"{file} of {repository}" if file else repository
        text = _sentence(error, what, repository, revision, endpoint)
        raise ModelUnavailable(without_password(text)) from error


def without_password(text: str) -> str:
    """What stands before the host of an address may be a password; it is not shown."""
    return re.sub(r"(?<=://)[^/\s@]*@", "", text)


def _sentence(
    error: BaseException, what: str, repository: str, revision: str | None, endpoint: str
) -> str:
    from huggingface_hub import errors

    cause = error.__cause__
    wrapped = isinstance(error, errors.LocalEntryNotFoundError) or type(error) is RuntimeError
    if wrapped and isinstance(cause, Exception):
        return _sentence(cause, what, repository, revision, endpoint)
    if isinstance(error, errors.HFValidationError):
        return (
            f"'{repository}' cannot be a repository of the Hub. Its name is OWNER/REPOSITORY, in "
            "letters, digits and - _ . alone, as its page shows it."
        )
    if isinstance(error, UnicodeEncodeError):
        return (
            f"HF_TOKEN, or what `hf auth login` kept, holds characters that no token has; {what} "
            "was not asked for. Set it anew."
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{what}: HF_HUB_OFFLINE forbids the network. Unset it to reach the Hub."
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{repository} is gated: its owners want their terms accepted first. Open "
            f"{endpoint}/{repository} in a browser, accept them, then {TOKEN}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{repository} has no revision '{revision}'. Check it at {endpoint}/{repository}"
            f"/commits/main, or take the newest: imgrank models pull hf:{repository} "
            "--as NAME"
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{what} is not there (revision {revision or 'main'})."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"there is no repository {repository} that may be read at {endpoint}. Check the "
            f"spelling (OWNER/REPOSITORY); if it is private, {TOKEN}."
        )
    if isinstance(error, errors.DisabledRepoError):
        return f"{repository} was disabled by the Hub. See {endpoint}/{repository}."
    if isinstance(error, errors.HfHubHTTPError):
        return _of_status(error, what, repository, endpoint)
    return _of_transport(error, what, endpoint) or _of_machine(error, what, endpoint)


def _of_status(error: BaseException, what: str, repository: str, endpoint: str) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if status == 401:
        return (
            f"{endpoint} refused the token (401) for {what}: it is wrong or has expired. Make a "
            "new one in the settings of your account, then set HF_TOKEN or run `hf auth login`."
        )
    if status == 403:
        return (
            f"{endpoint} forbids {what} (403): the token may not do this. Give it the right to "
            f"{repository} in the settings of your account, or use another token."
        )
    if status == 429:
        wait = response.headers.get("Retry-After", "") if response is not None else ""
        after = f" after {wait} seconds" if wait.isdecimal() else " in some minutes"
        return (
            f"{endpoint} is being asked too often from here (429), at {what}. Try again{after}; "
            "a token (HF_TOKEN or `hf auth login`) raises the limit."
        )
    if status >= 500:
        return f"{endpoint} has trouble of its own ({status}), at {what}. Try again later."
    return f"{endpoint} answered {status or 'with an error'} for {what}: {_first_line(error)}"


def _of_transport(error: BaseException, what: str, endpoint: str) -> str:
    """ "" if it is no error of the transport."""
    from huggingface_hub import constants
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    if isinstance(error, httpx.TimeoutException):
        return (
            f"{endpoint} stopped answering, at {what}. What is whole is kept; pull again to go "
            "on. On a slow line raise HF_HUB_DOWNLOAD_TIMEOUT (now "
            f"{constants.HF_HUB_DOWNLOAD_TIMEOUT} seconds without a byte) and "
            "HF_HUB_ETAG_TIMEOUT."
        )
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        return (
            f"the connection to {endpoint} broke off, at {what}. What is whole is kept; pull "
            "again to go on."
        )
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return f"HF_ENDPOINT is no address that can be used: {endpoint}. Correct or unset it."
    if isinstance(error, httpx.HTTPError) and "CERTIFICATE" in str(error).upper():
        return (
            f"the certificate of {endpoint} is not trusted here ({_first_line(error)}). Behind a "
            "proxy that opens connections, set SSL_CERT_FILE to the file of its certificate."
        )
    if isinstance(error, httpx.HTTPError):
        return f"no connection to {endpoint} ({_first_line(error)}). {_network_hint()}"
    return ""


def _of_machine(error: BaseException, what: str, endpoint: str) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full, at {what}. Make room, then pull again: what came is kept."
    if isinstance(error, OSError) and error.errno is not None:
        return f"{what} cannot be written: {error}."
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return f"{what} arrived cut short. Pull again to go on."
    if isinstance(error, ValueError | KeyError | TypeError | OSError):
        return (
            f"{endpoint} does not answer as the Hub does, at {what} ({_first_line(error)}). "
            "Behind a login page or a proxy, open it in a browser once; if HF_ENDPOINT is set, "
            "check that it names a Hub."
        )
    return (
        f"the Hub's client failed at {what}: {type(error).__name__}: {_first_line(error)}. Try "
        "again; HF_HUB_DISABLE_XET=1 makes it use plain HTTP."
    )


def _network_hint() -> str:
    """What in the environment leads the way to the network; values may hold passwords."""
    hints = []
    if proxies := [name for name in PROXIES if os.environ.get(name)]:
        hints.append(f"the proxy that {' and '.join(proxies)} name{'s' * (len(proxies) == 1)}")
    if os.environ.get("HF_ENDPOINT"):
        hints.append("HF_ENDPOINT")
    return (
        f"Check {', '.join(['the network', *hints])}. Without a network, copy the model's folder "
        "from a machine that has it; `--offline` keeps imgrank from trying."
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
