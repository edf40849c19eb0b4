"""A folder of PNG files, one for each frame, numbered from 0."""

import re
import shutil
from fractions import Fraction
from pathlib import Path

from marotte.errors import MarotteError
from marotte.runtime.frames import Frames
from marotte.runtime.video.provenance import PNG_XMP_KEY, Provenance
from marotte.runtime.video.sink import Sink
from marotte.runtime.video.writer import BackgroundWriter

# zlib's fast level: 6 makes 512x512 frames a tenth smaller and takes four times as long.
_COMPRESSION = 1


class PngSink(Sink):
    """Writes rgb24 or rgba frames losslessly into `folder.part`, which becomes `folder` at the end.

    Frame i is shown from i / fps on; the rate stands nowhere in the files. There is no sound.
    """

    def __init__(self, path: Path, width: int, height: int, fps: Fraction, *, provenance: Provenance) -> None:
        """Take `folder` or `folder/name%05d.png`; the folder must not exist or be empty."""
        super().__init__(path, width, height, fps)
        pattern = path.suffix.lower() == ".png"
        self._folder, self._name = (path.parent, path.name) if pattern else (path, "%05d.png")
        self._xmp = provenance.as_xmp()
        self._writer: BackgroundWriter | None = None
        self._next = 0
        if not re.fullmatch(r"[^%]*%(0[1-9])?d[^%]*", self._name):
            raise MarotteError(f"{path} names one picture: put a number into it, {path.stem}%05d.png")
        if self._folder.resolve() == Path.cwd() or not self._folder.name:
            raise MarotteError(f"{path} would fill the current folder: name one of its own, frames/{self._name}")
        if self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
            raise MarotteError(f"{self._folder} is there and not empty: choose a new folder for the pictures")
        if not self._folder.absolute().parent.is_dir():
            raise MarotteError(f"{self._folder} cannot be made: create {self._folder.absolute().parent} first")
        self._part = self._folder.with_name(self._folder.name + ".part")
        self._claim()

    def _claim(self) -> None:
        """Make the folder to write into, without the pictures of a killed run; anything else there is not ours."""
        number = re.escape(self._name).replace(re.escape("%"), "%")
        ours = re.compile(re.sub(r"%(0\d)?d", r"\\d+", number))
        try:
            self._part.mkdir(exist_ok=True)
            for old in self._part.iterdir():
                if not ours.fullmatch(old.name):
                    raise MarotteError(f"{old} is in the way: move it, {self._part} is written anew")
                old.unlink()
        except OSError as error:
            raise MarotteError(f"{self._folder} cannot be written: {error.strerror}; choose another place") from error

    def _take(self, frames: Frames) -> None:
        if frames.format == "yuv420p":
            raise MarotteError(f"{self.path} takes rgb24 or rgba frames, not yuv420p: render in rgb24")
        if self._writer is None:
            self._writer = BackgroundWriter(self._save)
        try:
            self._writer.put(frames)
        except OSError as error:
            raise self._failure(error) from error

    def _save(self, frames: Frames) -> None:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        for pixels in frames.pixels:
            mark = PngInfo()
            mark.add_itxt(PNG_XMP_KEY, self._xmp)
            image = Image.fromarray(pixels)
            image.save(self._part / (self._name % self._next), "PNG", pnginfo=mark, compress_level=_COMPRESSION)
            self._next += 1

    def _finish(self) -> None:
        assert self._writer is not None
        try:
            self._writer.finish()
            if self._folder.is_dir():
                self._folder.rmdir()
            self._part.replace(self._folder)
        except OSError as error:
            raise self._failure(error) from error

    def _discard(self) -> None:
        if self._writer:
            self._writer.cancel()
        shutil.rmtree(self._part, ignore_errors=True)

    def _failure(self, error: OSError) -> MarotteError:
        return MarotteError(f"{self.path} was not written: {error.strerror}; free some space or write elsewhere")
