"""Every output says that it is synthetic, and PNG folders appear whole or not at all."""

import subprocess
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.runtime.clock import frame_ticks
from marotte.runtime.frames import Frames
from marotte.runtime.video.ffmpeg import ffmpeg_exe, run_ffmpeg
from marotte.runtime.video.provenance import DIGITAL_SOURCE_TYPE, Provenance, read_provenance, read_tags
from marotte.runtime.video.sink import open_sink

MARK = Provenance(
    "marotte 0.1.0",
    avatar='Jean & "Marot" <é>',
    avatar_sha256="ab" * 32,
    driver="viseme",
    motion_basis="arkit52",
    approximations=("no tongue; a = b", "# 52 to 100 # \\ gaze"),
    created="2026-01-02T03:04:05Z",
)
FPS = Fraction(25)


def frames(count: int = 3, channels: int = 3, height: int = 32) -> Frames:
    pixels = np.random.default_rng(1).integers(0, 255, (count, height, 48, channels), np.uint8)
    return Frames(frame_ticks(0, count, FPS), pixels, {3: "rgb24", 4: "rgba"}[channels])


def sink(path, provenance: Provenance = MARK, height: int = 32):
    return open_sink(path, width=48, height=height, fps=FPS, provenance=provenance)


def write(path, batch: Frames, provenance: Provenance = MARK, error: type[BaseException] | None = None) -> None:
    with sink(path, provenance, batch.height) as out:
        out.write(batch)
        if error:
            raise error


@pytest.mark.parametrize("mark", [MARK, Provenance("marotte")])
@pytest.mark.parametrize("name", ["f.mp4", "f.webm", "f.gif", "frames/"])
def test_mark_is_read_back(tmp_path, name, mark):
    write(f"{tmp_path}/{name}", frames(), mark)
    assert read_provenance(tmp_path / name) == mark


def test_mark_survives_a_copy_without_xmp(tmp_path):
    write(tmp_path / "f.mp4", frames())
    whole = (tmp_path / "f.mp4").read_bytes()
    (tmp_path / "f.mp4").write_bytes(whole[: whole.rindex(b"uuid") - 4])
    assert read_tags(tmp_path / "f.mp4")["generator"] == "marotte 0.1.0"
    assert read_provenance(tmp_path / "f.mp4") == MARK


def test_tags_are_what_ffmpeg_reads(tmp_path):
    write(tmp_path / "f.mp4", frames())
    command = [ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "f.mp4"), "-f", "ffmetadata", "-"]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert f"digital_source_type={DIGITAL_SOURCE_TYPE}" in text
    assert "comment=synthetic talking head" in text


def test_nothing_else_of_the_sound_file_gets_in(tmp_path):
    (tmp_path / "tags.txt").write_text(
        ";FFMETADATA1\ntitle=secret\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=90\ntitle=secret\n"
    )
    tags = ["-i", str(tmp_path / "tags.txt"), "-map_metadata", "1", "-metadata:s:a", "handler_name=secret"]
    command = [ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "sine=duration=0.12", *tags]
    subprocess.run([*command, str(tmp_path / "a.m4a")], check=True)
    for count in (3, 9):
        target = tmp_path / f"{count}.mp4"
        with open_sink(target, width=48, height=32, fps=FPS, provenance=MARK, audio=tmp_path / "a.m4a") as out:
            out.write(frames(count))
        assert b"secret" not in target.read_bytes()
        assert "Chapter" not in "\n".join(run_ffmpeg(["-i", str(target)]).stderr_lines)


def test_texts_become_printable_lines():
    assert Provenance("a\x00b\n\ud800 c").generator == "a b c"


@pytest.mark.parametrize("name", ["plain.png", "plain.gif", "plain.txt", "missing.mp4", "empty"])
def test_files_without_mark_are_named(tmp_path, name):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.gif")
    (tmp_path / "plain.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MarotteError, match=name):
        read_provenance(tmp_path / name)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("target", ["out/", "out/%05d.png", "out/head_%d.png"])
def test_png_is_lossless_and_numbered_from_0(tmp_path, target, channels):
    batch = frames(4, channels, height=33)
    with sink(f"{tmp_path}/{target}", height=33) as out:
        out.write(Frames(batch.ticks[:3], batch.pixels[:3], batch.format))
        out.write(Frames(batch.ticks[3:], batch.pixels[3:], batch.format))
        assert not (tmp_path / "out").exists()
    pattern = target[4:] or "%05d.png"
    assert {file.name for file in (tmp_path / "out").iterdir()} == {pattern % i for i in range(4)}
    for index in range(4):
        with Image.open(tmp_path / "out" / (pattern % index)) as image:
            np.testing.assert_array_equal(np.asarray(image), batch.pixels[index])
    assert not (tmp_path / "out.part").exists()


def test_png_fills_an_empty_folder_and_replaces_a_killed_run(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "00009.png").write_bytes(b"old")
    write(tmp_path / "out", frames(2))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["00000.png", "00001.png"]


def test_png_touches_nobody_elses_files(tmp_path):
    for folder in ("full", "other.part"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.txt").write_text("keep")
    with pytest.raises(MarotteError, match="not empty"):
        sink(f"{tmp_path}/full/")
    with pytest.raises(MarotteError, match=r"mine\.txt is in the way"):
        sink(f"{tmp_path}/other/")
    assert (tmp_path / "full" / "mine.txt").exists() and (tmp_path / "other.part" / "mine.txt").exists()


def test_png_refuses_what_it_cannot_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for target, word in [
        ("one.png", "number"),
        ("out/%s.png", "number"),
        ("%05d.png", "current folder"),
        ("./", "current folder"),
        ("missing/out/", "create"),
        ("file/out/", "create"),
        ("file/", "not empty"),
    ]:
        with pytest.raises(MarotteError, match=word):
            sink(target)
    yuv = Frames(np.zeros(1, np.int64), np.zeros((1, 48, 48), np.uint8), "yuv420p")
    with pytest.raises(MarotteError, match="rgb24 or rgba"):
        write("out/", yuv)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_png_abort_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(f"{tmp_path}/out/", frames(5), error=KeyboardInterrupt)
    assert not list(tmp_path.iterdir())


def test_png_that_cannot_be_saved_is_an_error(tmp_path):
    out = sink(f"{tmp_path}/out/")
    (tmp_path / "out.part").rmdir()
    out.write(frames(2))
    with pytest.raises(MarotteError, match="was not written"):
        out.close()
    assert not list(tmp_path.iterdir())
