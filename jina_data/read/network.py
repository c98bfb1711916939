"""Explains failures of the network and of servers: what happened, and what to do about it."""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

_STATUS = {
    401: "the server asks for credentials (401)",
    403: "access is denied (403)",
    410: "the file was removed from the server (410)",
    416: "the server does not send parts of the file (416)",
    429: "the server refuses more requests for now (429)",
}
_TOKEN = "log in with `hf auth login` or set HF_TOKEN, and accept the terms of the dataset on its page"
_MISSING = ("RepositoryNotFoundError", "DatasetNotFoundError")


def network_problem(error: BaseException, name: str) -> str | None:
    """Return what went wrong at a URL or dataset and what to do; None if no server or network was involved."""
    chain = list(_chain(error))
    names = [type(link).__name__ for link in chain]
    is_hub = name.startswith(("datasets:", "hf://"))
    texts = " ".join([*names, *map(str, chain)])
    if re.search("OfflineModeIsEnabled|offline mode", texts, re.IGNORECASE):
        return "the Hub is off, because HF_HUB_OFFLINE is set. Unset it, or name a local copy of the files"
    if re.search("GatedRepoError|gated dataset", texts, re.IGNORECASE):
        return f"the dataset is gated. To get access, {_TOKEN}"
    if "RevisionNotFoundError" in names:
        return "the Hub has no such revision. Check the name after revision="
    if any(missing in names for missing in _MISSING) and not is_offline(error):
        return f"the Hub has no such dataset, or it is private. Check its name; for a private one, {_TOKEN}"
    if (status := _status_of(chain)) is not None:
        return _status_problem(status, is_hub=is_hub)
    return _connection_problem(chain, is_hub=is_hub)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that caused it."""
    link: BaseException | None = error
    for _ in range(12):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _status_of(chain: list[BaseException]) -> int | None:
    """Return the status of the HTTP response in a chain of errors."""
    for link in chain:
        response = getattr(link, "response", None)
        for value in (getattr(link, "status", None), getattr(response, "status_code", None)):
            if isinstance(value, int) and value >= 400:
                return value
    return None


def _status_problem(status: int, *, is_hub: bool) -> str:
    if status in (401, 403):
        advice = f"To get access, {_TOKEN}" if is_hub else "Check the URL and your credentials, or download the file"
        return f"{_STATUS[status]}. {advice}"
    if status == 404:
        return "no such file. Check the URL: the server reports status 404"
    if status == 429 or status >= 500:
        problem = _STATUS.get(status, f"the server reports an error of its own ({status})")
        return f"{problem}. Try again later, or download the file and name the local copy"
    return f"{_STATUS.get(status, f'the server refuses the request ({status})')}. Check the URL"


def is_offline(error: BaseException) -> bool:
    """Return whether a failed connection led to an error, or the Hub is switched off."""
    chain = list(_chain(error))
    return _connection_problem(chain, is_hub=False) is not None or any("Offline" in type(e).__name__ for e in chain)


def _connection_problem(chain: list[BaseException], *, is_hub: bool) -> str | None:
    local = "download the files elsewhere and name the local copy"
    advice = f"Check the network and any proxy, or {local}" + (" (HF_ENDPOINT sets another Hub)" if is_hub else "")
    text = " ".join(str(link) for link in chain)
    if _has(chain, socket.gaierror) or "Name or service not known" in text or "getaddrinfo failed" in text:
        return f"the name of the server cannot be resolved: no network, or a wrong host name. {advice}"
    if _has(chain, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in text:
        return f"the connection is not secure: the certificate of the server is not trusted. {advice}"
    if _has(chain, ConnectionRefusedError) or "Connection refused" in text or "Connect call failed" in text:
        return f"the server refuses the connection. {advice}"
    if _has(chain, TimeoutError) or "timed out" in text.lower():
        return f"the server does not answer in time. {advice}"
    names = {type(link).__name__ for link in chain}
    is_unreachable = names & {"LocalEntryNotFoundError", "ServerDisconnectedError"} or any(
        "Connect" in n for n in names
    )
    if _has(chain, ConnectionError) or is_unreachable or "Couldn't reach" in text:
        return f"the server cannot be reached. {advice}"
    return None


def _has(chain: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(link, kind) for link in chain)


@contextmanager
def quiet_retries() -> Iterator[None]:
    """Keep the clients of the Hub from printing a line for every retry; the error at the end says it all."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub.utils._http", "huggingface_hub", "datasets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
