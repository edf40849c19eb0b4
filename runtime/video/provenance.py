"""The mark of what is synthetic: who made a picture with what, written into files and read back.

What is marked and where: .mp4 carries an XMP packet (a `uuid` box at its end) and the same as
container tags; .webm tags; .gif an XMP application extension; every .png an XMP text chunk. The
pixels are not touched. The kind is IPTC's DigitalSourceType,
https://cv.iptc.org/newscodes/digitalsourcetype/; XMP in files is ISO 16684-1 and Adobe's
"XMP Specification Part 3: Storage in Files".
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from marotte.errors import MarotteError

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PNG_XMP_KEY = "XML:com.adobe.xmp"

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP = "http://ns.adobe.com/xap/1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_OWN = "urn:marotte:provenance#"
_XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_GIF_XMP = b"\x21\xff\x0bXMP DataXMP"
# A reader that skips GIF sub-blocks lands, wherever in the packet it jumped from, on this and then on its end.
_GIF_XMP_END = bytes([1, *range(255, -1, -1), 0])
_PACKET_BYTES = 2**20


@dataclass(frozen=True)
class Provenance:
    """What made a picture; every text is one printable line.

    generator: program and version, `marotte 0.1.0`.
    avatar, avatar_sha256: name of the avatar and hash of its files.
    driver, motion_basis: what moved it, and in which expression space.
    approximations: what was not done exactly, one line each.
    created: ISO 8601 time, None to leave it out (the same input then gives the same file).
    """

    generator: str
    avatar: str = ""
    avatar_sha256: str = ""
    driver: str = ""
    motion_basis: str = ""
    approximations: tuple[str, ...] = ()
    created: str | None = None

    def __post_init__(self) -> None:
        # XML and container tags cannot hold control characters or half of a surrogate pair.
        for name in _TEXTS:
            object.__setattr__(self, name, _one_line(getattr(self, name)))
        object.__setattr__(self, "approximations", tuple(_one_line(line) for line in self.approximations))

    def as_ffmpeg_metadata(self) -> dict[str, str]:
        """Return container tags; approximations are one a line. mp4 keeps them with `use_metadata_tags`."""
        tags = {"comment": f"synthetic talking head, made by {self.generator}"}
        tags["digital_source_type"] = DIGITAL_SOURCE_TYPE
        tags |= {name: text for name in _TEXTS if (text := getattr(self, name))}
        if self.approximations:
            tags["approximations"] = "\n".join(self.approximations)
        return tags

    def as_xmp(self) -> str:
        """Return an XMP packet: IPTC's DigitalSourceType, xmp:CreatorTool, and the rest in a namespace of our own."""
        entries = [("Iptc4xmpExt:DigitalSourceType", DIGITAL_SOURCE_TYPE), ("xmp:CreatorTool", self.generator)]
        entries += [(f"marotte:{name}", getattr(self, name)) for name in _TEXTS if name != "generator"]
        lines = [f"<{name}>{escape(text)}</{name}>" for name, text in entries if text]
        if self.approximations:
            items = "".join(f"<rdf:li>{escape(line)}</rdf:li>" for line in self.approximations)
            lines.append(f"<marotte:approximations><rdf:Bag>{items}</rdf:Bag></marotte:approximations>")
        body = "\n".join(lines)
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
            f'<rdf:RDF xmlns:rdf="{_RDF}">\n'
            f'<rdf:Description rdf:about="" xmlns:xmp="{_XMP}" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:marotte="{_OWN}">\n'
            f"{body}\n"
            "</rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n"
            '<?xpacket end="r"?>'
        )


_TEXTS = tuple(field.name for field in fields(Provenance) if field.name != "approximations")


def _one_line(text: str | None) -> str | None:
    if text is None:
        return None
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def append_xmp_to_mp4(path: Path, provenance: Provenance) -> None:
    """Append the XMP packet as a top-level `uuid` box; index and data keep their places."""
    packet = provenance.as_xmp().encode()
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write((24 + len(packet)).to_bytes(4, "big") + b"uuid" + _XMP_UUID + packet)


def append_xmp_to_gif(path: Path, provenance: Provenance) -> None:
    """Put the XMP packet between the last picture and the trailer byte."""
    packet = provenance.as_xmp().encode()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\x3b":
            raise MarotteError(f"{path} has no GIF trailer: it is cut short, render it again")
        file.seek(-1, os.SEEK_END)
        file.write(_GIF_XMP + packet + _GIF_XMP_END + b"\x3b")


def mp4_boxes(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield kind, offset of the content and size of the content of each top-level box (ISO 14496-12, 4.2)."""
    end = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start + 8 <= end:
            file.seek(start)
            head = file.read(16)
            size, header = int.from_bytes(head[:4], "big"), 8
            if size == 1:
                size, header = int.from_bytes(head[8:16], "big"), 16
            size = size or end - start
            if size < header:
                return
            yield head[4:8].decode("latin-1"), start + header, size - header
            start += size


def read_provenance(path: str | Path) -> Provenance:
    """Return the mark that a sink wrote into an .mp4, .webm, .gif, .png or a folder of PNG files.

    Raises MarotteError where there is none.
    """
    path = Path(path)
    if path.is_dir():
        path = next(iter(sorted(path.glob("*.png"))), path / "*.png")
    if not path.is_file():
        raise MarotteError(f"{path} is not a file: there is no mark to read")
    packet = _read_xmp(path)
    found = _from_xmp(packet) if packet else _from_tags(read_tags(path))
    if found is None:
        raise MarotteError(f"{path} carries no mark of where it came from: marotte did not make it, or it was removed")
    return found


def read_tags(path: Path) -> dict[str, str]:
    """Return the container's global tags, names in lower case, as ffmpeg reads them; empty where it cannot."""
    from marotte.runtime.video.ffmpeg import file_url, run_ffmpeg

    text = run_ffmpeg(["-loglevel", "error", "-i", file_url(path), "-f", "ffmetadata", "-"]).stdout.decode()
    tags = {}
    # In ffmetadata a backslash keeps the character after it, a line's end too.
    for line in re.findall(r"((?:[^\\\n]|\\[\s\S])+)\n", text):
        if line.startswith("["):
            break
        if line.startswith(";") or "=" not in line:
            continue
        name, value = re.split(r"(?<!\\)=", line, maxsplit=1)
        tags[name.lower()] = re.sub(r"\\([\s\S])", r"\1", value)
    return tags


def _read_xmp(path: Path) -> bytes | None:
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            for kind, start, size in mp4_boxes(path):
                if kind == "uuid" and 16 <= size <= _PACKET_BYTES:
                    file.seek(start)
                    if file.read(16) == _XMP_UUID:
                        return file.read(size - 16)
        if head.startswith(b"GIF8"):
            # Ours is the last block; a packet written by another program further up is none of ours.
            file.seek(max(0, path.stat().st_size - _PACKET_BYTES))
            _, mark, rest = file.read().rpartition(_GIF_XMP)
            return rest.partition(_GIF_XMP_END)[0] if mark else None
    if head.startswith(b"\x89PNG"):
        from PIL import Image

        with Image.open(path) as image:
            text = image.info.get(PNG_XMP_KEY)
        return text.encode() if text else None
    return None


def _from_xmp(packet: bytes) -> Provenance | None:
    try:
        root = ElementTree.fromstring(packet)
    except ElementTree.ParseError:
        return None
    if root.findtext(f".//{{{_IPTC}}}DigitalSourceType") != DIGITAL_SOURCE_TYPE:
        return None
    texts = {name: root.findtext(f".//{{{_OWN}}}{name}") for name in _TEXTS}
    texts["generator"] = root.findtext(f".//{{{_XMP}}}CreatorTool")
    items = root.iterfind(f".//{{{_OWN}}}approximations/{{{_RDF}}}Bag/{{{_RDF}}}li")
    return _of_texts(texts, [item.text or "" for item in items])


def _from_tags(tags: dict[str, str]) -> Provenance | None:
    if tags.get("digital_source_type") != DIGITAL_SOURCE_TYPE:
        return None
    lines = tags.get("approximations", "")
    return _of_texts(tags, lines.split("\n") if lines else [])


def _of_texts(texts: Mapping[str, str | None], approximations: list[str]) -> Provenance:
    return Provenance(
        generator=texts.get("generator") or "",
        avatar=texts.get("avatar") or "",
        avatar_sha256=texts.get("avatar_sha256") or "",
        driver=texts.get("driver") or "",
        motion_basis=texts.get("motion_basis") or "",
        approximations=tuple(approximations),
        created=texts.get("created") or None,
    )
