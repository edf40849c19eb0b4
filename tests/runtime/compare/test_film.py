"""Films as a player shows them: made here by ffmpeg, each picture of a grey that says which one it is."""

from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.compare.film import Film
from marotte.runtime.video.ffmpeg import run_ffmpeg

FPS = Fraction(25)
GREY = "format=gbrp,geq=r='8*N':g='8*N':b='8*N'"
LOSSLESS = ["-c:v", "libx264rgb", "-qp", "0", "-bf", "0"]


def make(path, *arguments):
    done = run_ffmpeg(["-y", "-loglevel", "error", *arguments, f"file:{path}"])
    assert not done.status, done.complaint
    return path


def source(rate=25, frames=20, size="64x48"):
    return ["-f", "lavfi", "-i", f"nullsrc=s={size}:r={rate},trim=end_frame={frames}"]


def numbers(pictures):
    """Which picture of the source each one is."""
    return [round(float(picture.mean()) / 8) for picture in pictures]


def click_at(sound):
    return int(np.argmax(abs(sound) > 0.2)) / 16000


# A click of 10 ms, half a second after the track's beginning.
CLICK = ["-f", "lavfi", "-i", "aevalsrc='0.8*gt(t,0.5)*lt(t,0.51)':s=48000:d=1.2"]


def test_each_picture_of_a_film_at_its_own_rate(tmp_path):
    film = Film(make(tmp_path / "a.mp4", *source(), "-vf", GREY, *LOSSLESS))
    pictures = list(film.frames(FPS))
    assert numbers(pictures) == list(range(20))
    assert film.size == (64, 48) and film.fps == 25 and film.duration == pytest.approx(0.8)
    assert pictures[0].shape == (48, 64, 3) and pictures[0].dtype == np.uint8
    assert film.sound() is None and not film.has_sound and film.notes == ("a.mp4 has no sound",)


def test_another_rate_shows_what_is_due_at_its_times(tmp_path):
    film = Film(make(tmp_path / "a.mp4", *source(30, 30), "-vf", GREY, *LOSSLESS))
    assert numbers(film.frames(FPS)) == [i * 30 // 25 for i in range(25)]
    assert numbers(film.frames(Fraction(60))) == [i // 2 for i in range(60)]
    assert numbers(film.frames(FPS, 0.2, 3)) == [6, 7, 8]
    assert list(film.frames(FPS, 0.2, 0)) == [] and list(film.frames(FPS, 5.0)) == []


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_frames_stay_until_the_next_is_due(tmp_path, suffix):
    # Frame n is due n * n / 100 seconds after the first, which is half a second late itself.
    chain = f"{GREY},settb=1/1000,setpts='(500+10*N*N)'"
    exact = ["-fps_mode", "passthrough", "-enc_time_base", "1/1000"]
    film = Film(make(tmp_path / f"a.{suffix}", *source(25, 10), "-vf", chain, *exact, *LOSSLESS))
    shown = numbers(film.frames(FPS))
    due = [max(n for n in range(10) if n * n / 100 <= i / 25 + 1e-9) for i in range(len(shown))]
    assert shown == due
    assert len(shown) >= 21 and abs(len(shown) - film.frame_count(FPS)) <= 1


def test_a_rounded_clock_loses_no_frame(tmp_path):
    """Matroska counts milliseconds: every frame of 30 a second is a fraction early or late."""
    film = Film(make(tmp_path / "a.mkv", *source(30, 30), "-vf", GREY, *LOSSLESS))
    assert numbers(film.frames(Fraction(30))) == list(range(30))


@pytest.mark.parametrize("late", [0.4, -0.2])
def test_sound_on_the_clock_of_the_picture(tmp_path, late):
    shift = ["-itsoffset", str(late)] if late > 0 else []
    wait = [] if late > 0 else ["-itsoffset", str(-late)]
    made = make(tmp_path / "a.mkv", *wait, *source(), *shift, *CLICK, "-filter:v", GREY, *LOSSLESS, "-c:a", "pcm_s16le")
    film = Film(made)
    assert numbers(film.frames(FPS)) == list(range(20))
    sound = film.sound()
    assert sound.dtype == np.float32
    assert click_at(sound) == pytest.approx(0.5 + late, abs=0.003)
    assert click_at(film.sound(0.2)) == pytest.approx(0.3 + late, abs=0.003)
    assert len(film.sound(seconds=0.5)) == 8000


def test_compressed_sound_lies_where_it_was(tmp_path):
    film = Film(make(tmp_path / "a.mp4", *source(25, 30), *CLICK, "-vf", GREY, *LOSSLESS, "-c:a", "aac"))
    assert click_at(film.sound()) == pytest.approx(0.5, abs=0.004)


def test_a_turned_film_stands_upright(tmp_path):
    half = "format=gbrp," + "geq=r='{0}':g='{0}':b='{0}'".format("if(lt(X,W/2),0,255)")
    plain = make(tmp_path / "plain.mp4", *source(25, 3), "-vf", half, *LOSSLESS)
    turned = make(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", str(plain), "-c", "copy")
    film = Film(turned)
    assert film.size == (48, 64)
    picture = next(film.frames(FPS))
    assert picture.shape == (64, 48, 3)
    # A quarter to the left: what was at the right is on top.
    assert picture[:28].min() > 250 and picture[36:].max() < 5


def test_odd_sizes_and_pixels_that_are_not_square(tmp_path):
    odd = Film(make(tmp_path / "odd.mkv", *source(25, 3, "65x49"), "-vf", GREY, *LOSSLESS))
    assert odd.size == (65, 49) and next(odd.frames(FPS)).shape == (49, 65, 3)
    wide = Film(make(tmp_path / "wide.mp4", *source(25, 3), "-vf", GREY + ",setsar=2", *LOSSLESS))
    assert wide.size == (128, 48) and next(wide.frames(FPS)).shape == (48, 128, 3)


@pytest.mark.parametrize("kind", [("mov", ["-c:v", "png"]), ("webm", ["-c:v", "libvpx-vp9", "-lossless", "1"])])
def test_what_is_transparent_shows_the_background(tmp_path, kind):
    suffix, codec = kind
    chain = "format=rgba,geq=r=255:g=255:b=255:a='if(lt(X,W/2),0,255)'"
    chain += ",format=yuva420p" if suffix == "webm" else ""
    made = make(tmp_path / f"a.{suffix}", *source(25, 3), "-vf", chain, *codec)
    picture = next(Film(made, background=(10, 200, 30)).frames(FPS))
    assert abs(picture[:, :28].astype(int) - (10, 200, 30)).max() <= 2
    assert picture[:, 36:].min() >= 252


def test_the_size_stays_where_the_film_changes_it(tmp_path):
    one = make(tmp_path / "1.ts", *source(25, 10), "-vf", "format=yuv420p", "-c:v", "mpeg2video")
    two = make(tmp_path / "2.ts", *source(25, 10, "96x80"), "-vf", "format=yuv420p", "-c:v", "mpeg2video")
    (tmp_path / "both.ts").write_bytes(one.read_bytes() + two.read_bytes())
    shapes = {picture.shape for picture in Film(tmp_path / "both.ts").frames(FPS)}
    assert shapes == {(48, 64, 3)}


def test_lengths_that_differ_are_said(tmp_path):
    film = Film(make(tmp_path / "a.mp4", *source(), "-vf", GREY, *LOSSLESS))
    assert film.length_note(0.84) == ""
    assert film.length_note(2.0) == "a.mp4 lasts 0.80 s and the sound 2.00 s: after 0.80 s it shows nothing"
    assert film.length_note(0.5) == "a.mp4 lasts 0.80 s and the sound 0.50 s: after 0.50 s it is not compared"
    assert film.length_note(0.3, 0.5) == ""
    told = "a.mp4 lasts 0.30 s from second 0.5 on and the sound 2.00 s: after 0.30 s it shows nothing"
    assert film.length_note(2.0, 0.5) == told


def test_a_film_that_was_cut_short_is_used_to_there(tmp_path):
    whole = make(
        tmp_path / "whole.mp4", *source(25, 100, "160x120"), "-vf", "noise=alls=90:allf=t", *LOSSLESS, "-movflags",
        "+faststart",
    )  # fmt: skip
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    film = Film(cut)
    assert any("cut.mp4 is damaged or cut short" in note for note in film.notes)
    assert 30 < len(list(film.frames(FPS))) < 70


def test_one_clear_line_for_what_is_no_film(tmp_path):
    empty, text, folder = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "folder"
    empty.touch()
    text.write_text("not a film")
    folder.mkdir()
    sound = make(tmp_path / "sound.wav", *CLICK)
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(make(tmp_path / "a.mp4", *source(), "-vf", GREY, *LOSSLESS).read_bytes()[:900])
    for path, word in [
        (tmp_path / "missing.mp4", "does not exist"),
        (empty, "0 bytes"),
        (text, "not a film"),
        (folder, "not a plain file"),
        (sound, "no picture"),
        (headless, "not a film"),
    ]:
        with pytest.raises(MarotteError, match=word) as caught:
            Film(path)
        assert "\n" not in str(caught.value) and path.name in str(caught.value)
