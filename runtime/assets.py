"""Published files that Marotte works with and does not ship: which there are, where they lie, whether they are whole.

`runtime/data/assets.json` names them with sizes and hashes. They lie in the store (`marotte.runtime.places`,
$MAROTTE_ASSETS) in the layout of ARTalk's own asset folder; that folder, $ARTALK_ASSET_DIR, is read too and never
written. `asset_fetch` downloads, `asset_import` takes what is on this machine already.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError, unknown_name
from marotte.models.plain_files import read_json, write_whole
from marotte.runtime.places import data_folder

MANIFEST = Path(__file__).parent / "data" / "assets.json"
FLAME_SITE = "https://flame.is.tue.mpg.de"

# Called with the bytes that were just read, while a file is hashed or copied.
Progress = Callable[[int], None]

_BLOCK = 1 << 20
# Smaller files are hashed whenever they are looked at; larger ones once, and again when they change.
_HASHED_AT_ONCE = 32 << 20
_RECORDS = ".verified.json"


@dataclass(frozen=True)
class Asset:
    """A published file.

    name: its place in the store, with slashes. bytes, sha256: of the published file; None where they are not known
    (FLAME's own files). repo, file: where Hugging Face has it; empty where it must not be fetched, but given by the
    user. needed_by: what cannot do without it.
    """

    name: str
    group: str
    needed_by: str
    licence: str
    bytes: int | None = None
    sha256: str | None = None
    repo: str = ""
    file: str = ""

    @property
    def url(self) -> str:
        """Its address, or that of the site where one registers for it."""
        return f"https://huggingface.co/{self.repo}/resolve/main/{self.file}" if self.repo else FLAME_SITE

    @property
    def way(self) -> str:
        """What to do to have it, for the end of an error's line."""
        if self.repo:
            return f"`marotte assets fetch {self.name}`, or download {self.url} and `marotte assets add PATH`"
        return f"register at {FLAME_SITE}, download it there and `marotte assets add PATH`: FLAME is never fetched"


@dataclass(frozen=True)
class Finding:
    """What is there of an asset. state: `present`, `unverified` (not hashed yet), `wrong` or `missing`; why: if wrong.

    path: where it lies, or would lie.
    """

    asset: Asset
    path: Path
    state: str
    why: str = ""


def catalogue() -> dict[str, Asset]:
    """Return all assets by name."""
    manifest = read_json(MANIFEST)
    assets = {}
    for entry in manifest["files"]:
        repo, _, file = entry.get("huggingface", "").partition(":")
        group = manifest["groups"][entry["group"]]
        assets[entry["name"]] = Asset(
            name=entry["name"],
            group=entry["group"],
            needed_by=entry.get("needed_by", group["needed_by"]),
            licence=group["licence"],
            bytes=entry.get("bytes"),
            sha256=entry.get("sha256"),
            repo=repo,
            file=file,
        )
    return assets


def select(names: Sequence[str]) -> list[Asset]:
    """Return the assets of these names and groups (`all` for every one), each once. Raises MarotteError.

    A style's name will do without folder and ending, as the driver takes it: `happy_0`.
    """
    known = catalogue()
    groups = {asset.group for asset in known.values()}
    styles = {Path(asset.name).stem: asset.name for asset in known.values() if asset.group == "styles"}
    chosen: dict[str, Asset] = {}
    for name in names:
        plain = name.replace("\\", "/")
        plain = styles.get(plain, plain)
        if plain not in known and plain not in groups and plain != "all":
            raise unknown_name("asset or group", name, [*groups, "all", *known])
        chosen |= {n: asset for n, asset in known.items() if plain in (n, asset.group, "all")}
    return list(chosen.values())


def store() -> Path:
    """Return the folder that assets are put into, which need not exist yet."""
    return data_folder("assets")


def asset_path(name: str) -> Path:
    """Return the file of an asset, checked by size and hash (large files once, until they change).

    Raises MarotteError, with the command that mends it, where it is missing or not the published file.
    """
    known = catalogue()
    if name not in known:
        raise unknown_name("asset", name, known)
    found = examine(known[name], hashed=True)
    if found.state == "missing":
        needed = f" (needed by: {found.asset.needed_by})" if found.asset.needed_by else ""
        raise MarotteError(f"{name} is not in {store()}{needed}: {found.asset.way}")
    if found.state == "wrong":
        raise MarotteError(f"{found.path} {found.why}: {found.asset.way}")
    return found.path


def examine(asset: Asset, *, hashed: bool = False, again: bool = False, progress: Progress | None = None) -> Finding:
    """Return what is there of an asset, in the store or else in ARTalk's folder.

    hashed: also where that means reading a large file; again: even if it was hashed before.
    """
    found = [
        _examine(asset, path, hashed, again, progress) for path in _places(asset) if path.exists() or path.is_symlink()
    ]
    good = [finding for finding in found if finding.state != "wrong"]
    return next(iter(good + found), None) or Finding(asset, store() / asset.name, "missing")


def sha256(path: Path, progress: Progress | None = None) -> str:
    """Return the hash of a file. Raises MarotteError where it cannot be read."""
    digest = hashlib.sha256()
    for block in blocks(path, progress):
        digest.update(block)
    return digest.hexdigest()


def blocks(path: Path, progress: Progress | None = None) -> Iterator[bytes]:
    """Yield a file's content. Raises MarotteError where it cannot be read."""
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
                if progress:
                    progress(len(block))
    except OSError as error:
        raise MarotteError(f"cannot read {path}: {error.strerror or error}") from error


def fault(asset: Asset, size: int, digest: str | None = None) -> str:
    """Return why bytes of this size and hash are not the asset; empty where they are."""
    if asset.bytes is not None and size != asset.bytes:
        what = "is cut short" if size < asset.bytes else "is another file"
        return f"{what}: it has {size} bytes, {asset.name} has {asset.bytes}"
    if digest is not None and asset.sha256 not in (None, digest):
        return f"is not {asset.name} as published: its sha256 is {digest}, that of the published file {asset.sha256}"
    return ""


def remember(path: Path, digest: str) -> None:
    """Record a file's hash, so that it need not be read again until it changes. Never fails: it only saves time."""
    with suppress(MarotteError, OSError):
        records = {name: record for name, record in _records().items() if os.path.exists(name)}
        records[str(path)] = {**_stamp(path), "sha256": digest}
        write_whole(store() / _RECORDS, json.dumps(records, indent=1).encode())


def _places(asset: Asset) -> list[Path]:
    roots = [store()]
    if own := os.environ.get("ARTALK_ASSET_DIR"):
        roots.append(Path(own).expanduser())
    return [root / asset.name for root in roots]


def _examine(asset: Asset, path: Path, hashed: bool, again: bool, progress: Progress | None) -> Finding:
    try:
        if not path.is_file():
            why = "is no file" if path.exists() else "is a link to a file that is gone"
            return Finding(asset, path, "wrong", why)
        stamp = _stamp(path)
    except OSError as error:
        return Finding(asset, path, "wrong", f"cannot be read ({error.strerror or error})")
    if why := fault(asset, stamp["bytes"]):
        return Finding(asset, path, "wrong", why)
    record = _records().get(str(path), {})
    fresh = not again and {key: record.get(key) for key in stamp} == stamp
    if fresh:
        digest = record.get("sha256")
    elif hashed or stamp["bytes"] <= _HASHED_AT_ONCE:
        try:
            digest = sha256(path, progress)
        except MarotteError as error:
            return Finding(asset, path, "wrong", f"cannot be read ({error})")
    else:
        return Finding(asset, path, "unverified")
    why = fault(asset, stamp["bytes"], digest)
    if not why and asset.sha256 is None and record.get("sha256") not in (None, digest):
        why = f"has changed since it was added: its sha256 was {record['sha256']}, it is {digest}"
    if not why and not fresh:
        remember(path, str(digest))
    return Finding(asset, path, "wrong" if why else "present", why)


def _stamp(path: Path) -> dict[str, int]:
    about = path.stat()
    return {"bytes": about.st_size, "mtime_ns": about.st_mtime_ns}


def _records() -> dict[str, dict[str, Any]]:
    """Return what was hashed before; nothing where the record is damaged, since it only saves time."""
    try:
        records = read_json(store() / _RECORDS)
    except MarotteError:
        return {}
    return {name: record for name, record in records.items() if isinstance(record, dict)}
