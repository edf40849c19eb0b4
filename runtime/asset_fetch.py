"""Assets from Hugging Face into the store: whole, verified, and resumed where a download was broken off."""

import errno
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from marotte.errors import MarotteError
from marotte.runtime.assets import Asset, Progress, examine, fault, remember, sha256, store

_INCOMING = ".incoming"
_OTHER_DISK = "make room, or name a folder on another disk in MAROTTE_ASSETS"


def fetch(asset: Asset, *, quiet: bool = False, progress: Progress | None = None) -> Path:
    """Return an asset's file in the store, downloaded unless it is here already.

    It gets its name when size and hash are those of the manifest; a download that is broken off goes on where it
    stopped. quiet: no bar of the download; progress: of the hashing. Raises MarotteError where it is FLAME's, which
    nobody may fetch for another, where the network or the disk fails, and where what came is another file.
    """
    found = examine(asset, hashed=True, progress=progress)
    if found.state == "present":
        return found.path
    if not asset.repo or asset.bytes is None:
        raise MarotteError(f"{asset.name} cannot be fetched: {asset.way}")
    # A folder for each file: what is left of a broken download is in it, under names of the library's own.
    incoming = store() / _INCOMING / (asset.sha256 or asset.name)
    target = store() / asset.name
    try:
        incoming.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(incoming).free + _bytes_in(incoming)
    except OSError as error:
        raise MarotteError(f"cannot write into {store()}: {error.strerror or error}") from error
    if free < asset.bytes:
        _forget_unbegun(asset, incoming)
        raise MarotteError(f"{store()} has room for {free} bytes, {asset.name} has {asset.bytes}: {_OTHER_DISK}")
    came = _downloaded(asset, incoming, quiet)
    digest = sha256(came, progress)
    why = fault(asset, came.stat().st_size, digest)
    if why:
        _forget(incoming)
        raise MarotteError(f"what came from {asset.url} {why}; nothing of it was kept")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(came, target)
    except OSError as error:
        raise MarotteError(f"cannot write {target}: {error.strerror or error}") from error
    _forget(incoming)
    remember(target, digest)
    return target


def _downloaded(asset: Asset, incoming: Path, quiet: bool) -> Path:
    """Return what Hugging Face's own client downloaded into `incoming`."""
    download, server = _client(quiet)
    try:
        _find(server)
        return Path(download(repo_id=asset.repo, filename=asset.file, revision="main", local_dir=incoming))
    except Exception as error:  # the client lets through whatever its network library raises
        if any(isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT) for e in _chain(error)):
            raise MarotteError(
                f"the disk is full under {store()} while fetching {asset.name}: {_OTHER_DISK}"
            ) from error
        first = _chain(error)[-1]
        what = " ".join(f"{type(first).__name__}: {first}".split())[:200]
        raise MarotteError(
            f"{asset.name} could not be fetched ({what}): try again and it goes on from where it stopped; without a "
            f"network, download {asset.url} elsewhere and `marotte assets add PATH`"
        ) from error
    finally:
        _forget_unbegun(asset, incoming)


def _find(server: str) -> None:
    """Raise OSError at once where the server's name is not known, as without a network: the client would try for long.

    With a proxy, which knows names for itself, nothing is asked.
    """
    if not getproxies():
        socket.getaddrinfo(urlsplit(server).hostname, urlsplit(server).port or 443)


def _client(quiet: bool) -> tuple[Callable[..., str], str]:
    """Return the download of Hugging Face's client, with or without its bars, and its server's address.

    Raises MarotteError without it.
    """
    try:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.utils import disable_progress_bars, enable_progress_bars, logging
    except ImportError:
        raise MarotteError(
            "fetching needs huggingface_hub: pip install 'marotte[artalk]', or download the files elsewhere and "
            "`marotte assets add PATH`"
        ) from None
    logging.set_verbosity_error()  # what matters of its retries is said once, at the end
    if quiet:
        disable_progress_bars()
    else:
        enable_progress_bars()
    download: Callable[..., str] = hf_hub_download
    return download, constants.ENDPOINT


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and those that led to it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _forget(incoming: Path) -> None:
    """Remove the folder of a download, and its parent if no other download is in it."""
    shutil.rmtree(incoming, ignore_errors=True)
    with suppress(OSError):
        incoming.parent.rmdir()


def _forget_unbegun(asset: Asset, incoming: Path) -> None:
    """Remove the folder of a download that left nothing to go on with."""
    if not list(incoming.rglob("*.incomplete")) and not (incoming / asset.file).is_file():
        _forget(incoming)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
