"""A comparison's report opens from disk in a real browser: its players are in step, names stay text, no network."""

import base64
import io
import json
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marotte.models.plain_files import write_whole
from marotte.runtime.compare.model import FAMILIES
from marotte.runtime.compare.report import write_report
from marotte.runtime.frames import Frames
from marotte.runtime.testing import speech_like
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import open_sink

FPS, FRAMES, SIDE, LABEL = 25, 50, 96, 32
# All but the tracks of a comparison whose arms have names that would be markup, and numbers that lack.
RESULTS = json.loads((Path(__file__).parent / "report_results.json").read_text(encoding="utf-8"))
NAMES = [arm["name"] for arm in RESULTS["arms"]]
_, HOSTILE, LONG = NAMES
BITS = 6


def _arm_picture(frame: int, arm: int) -> np.ndarray:
    """A picture whose squares spell the frame's number; the third arm differs from the others in a corner."""
    picture = np.full((SIDE, SIDE, 3), 96, np.uint8)
    for bit in range(BITS):
        if frame >> bit & 1:
            picture[8:40, bit * 16 : bit * 16 + 16] = 230
    y, x = np.mgrid[:SIDE, :SIDE]
    picture[(y - 70) ** 2 / 9 + (x - 48) ** 2 / 40 < 3 + frame % 7] = (150, 40, 40)
    if arm == 2:
        picture[56:88, 8:32] = (240, 220, 40)
    return picture


def _ends_dark(frame: int, arm: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), 16, np.uint8) if arm == 2 and frame >= 40 else _arm_picture(frame, arm)


def _jpeg(shade: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((48, 144, 3), shade, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def _film(folder) -> None:
    import soundfile

    soundfile.write(folder / "sound.wav", speech_like(FRAMES / FPS), 16000)
    size = {"width": 3 * SIDE, "height": SIDE + LABEL}
    with open_sink(
        folder / "grid.mp4", **size, fps=Fraction(FPS), provenance=Provenance("a test"), audio=folder / "sound.wav"
    ) as sink:
        for frame in range(FRAMES):
            grid = np.full((1, SIDE + LABEL, 3 * SIDE, 3), 24, np.uint8)
            for arm in range(3):
                grid[0, LABEL:, arm * SIDE : (arm + 1) * SIDE] = _ends_dark(frame, arm)
            sink.write(Frames(np.array([frame * 48000 // FPS]), grid))


def sample() -> dict:
    """Return results of three arms: the second equals the first, the third fails at 1.6 s; with numbers that lack."""
    wave = [round(4 + 4 * float(np.sin(0.4 * frame)), 3) for frame in range(FRAMES)]
    halved = [value / 2 if frame < 40 else None for frame, value in enumerate(wave)]
    same = {"asked": wave, "opening": wave, "asked_blink": halved, "blink": halved, "head": wave, "frame_ms": wave}
    third = {"asked": wave, "opening": halved, "head": [None] * FRAMES, "difference": halved, "psnr": halved}
    tracks = {
        "seconds": [frame / FPS for frame in range(FRAMES)],
        "units": {"opening": "mm", "head": "degrees", "frame_ms": "ms", "psnr": "dB"},
        "titles": {"opening": f"Opening {HOSTILE}", "blink": "Blinks", "head": "Pitch", "frame_ms": "Frame time"},
        "arms": {"splat": same, HOSTILE: same, LONG: {**third, "frame_ms": halved}},
        "bilabials": [[0.4, 0.52], [1.2, 1.28]],
    }
    return {**RESULTS, "families": FAMILIES, "tracks": tracks}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("compare")
    _film(place)
    for name in ("moments", "heat", "arms"):
        (place / name).mkdir()
    write_whole(place / "moments" / "1.jpg", _jpeg(120))
    Image.fromarray(np.full((24, 24, 3), 60, np.uint8)).save(place / "heat" / "1.png")
    (place / "results.json").write_text(json.dumps(sample()))
    write_report(place, sample())
    return place


class Read:
    """A report that is open."""

    def __init__(self, page) -> None:
        self.page = page

    def ready(self) -> None:
        self.wait("Boolean(window.report && report.readyMs)")

    def wait(self, condition: str) -> None:
        for _ in range(400):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {condition}")

    def seek(self, frame: int) -> None:
        self.page.evaluate(f"report.film.seek({frame})")
        self.at(frame)

    def at(self, frame: int) -> None:
        self.wait(f"report.film.frame === {frame} && !report.film.video.seeking")
        self.wait(f"document.getElementById('clock').textContent.includes('frame {frame} ')")

    def pixels(self, selector: str) -> np.ndarray:
        """Return a canvas [H, W, 3], before any filter."""
        width, height, data = self.page.evaluate(
            """(selector) => { const canvas = document.querySelector(selector);
            const paper = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
            paper.drawImage(canvas, 0, 0);
            const {data} = paper.getImageData(0, 0, canvas.width, canvas.height);
            const text = Array.from(data, (each) => String.fromCharCode(each)).join("");
            return [canvas.width, canvas.height, btoa(text)]; }""",
            selector,
        )
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3].astype(int)

    def number(self, arm: int) -> int:
        """Return the frame's number that an arm's picture spells."""
        picture = self.pixels(f'#players canvas[data-arm="{arm}"]').mean(-1)
        return sum(int(picture[12:36, bit * 16 + 4 : bit * 16 + 12].mean() > 160) << bit for bit in range(BITS))

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)


@pytest.fixture
def read(chromium, folder):
    contexts, faults, asked = [], [], []

    def go(path=None, width=1280, height=900, **options) -> Read:
        context = chromium.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.blockedURI))")
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto((path or folder / "report.html").as_uri())
        return Read(page)

    yield go
    for context in contexts:
        context.close()
    assert faults == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert len([url for url in asked if url.startswith("file:") and not url.endswith(".mp4")]) == len(contexts)


def test_opens_with_everything_in_it(read, folder):
    started = time.perf_counter()
    report = read()
    report.ready()
    loaded = report.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    print(
        f"report of {(folder / 'report.html').stat().st_size / 1e6:.2f} MB: loaded in {loaded:.0f} ms, film ready at "
        f"{report.page.evaluate('report.readyMs'):.0f} ms, {time.perf_counter() - started:.2f} s in all"
    )
    page = report.page
    assert page.locator("#players canvas").count() == 3
    assert page.locator(".card").count() == 3
    assert page.locator("#figures table").count() == 3
    assert {each.get_attribute("data-track") for each in page.locator(".plot").all()} == {
        *("opening", "blink", "head", "difference", "psnr", "frame_ms")
    }
    assert page.locator("rect.band").count() == 6
    assert page.locator("#moments img").evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 144
    assert page.locator("#heat img").evaluate("(image) => image.naturalWidth") == 24
    assert page.get_by_role("link", name="Its own film").first.get_attribute("href") == "./arms/0%20%23%3F%25.mp4"


def test_names_stay_text(read):
    report = read()
    report.ready()
    assert report.page.evaluate("report.hacked") is None
    assert report.page.locator("img[src=x], i:text('mend'), u, .card b").count() == 0
    assert report.page.title() == f"A comparison {HOSTILE}"
    assert report.page.locator("#players figcaption b").nth(1).inner_text() == HOSTILE
    assert report.page.locator("#left option").all_inner_texts() == NAMES
    assert report.page.locator("script").count() == 2  # data and the script itself; the film's is gone


@pytest.mark.parametrize("width", [1280, 390])
def test_fits_its_width(read, width):
    report = read(width=width, is_mobile=width < 500, has_touch=width < 500)
    report.ready()
    assert report.page.evaluate("document.documentElement.scrollWidth") == width
    small = report.page.evaluate(
        "[...document.querySelectorAll('button, select, input[type=range]')].filter((each) => each.offsetParent && "
        "each.offsetHeight < 34).map((each) => each.outerHTML)"
    )
    assert small == []


def test_every_arm_shows_the_frame_that_is_sought(read):
    report = read()
    report.ready()
    for frame in (0, 1, 13, 38, 37, 39, 2):
        report.seek(frame)
        assert [report.number(arm) for arm in range(3)] == [frame] * 3
    report.seek(49)
    assert [report.number(arm) for arm in range(2)] == [49] * 2
    assert report.pixels('#players canvas[data-arm="2"]').max() < 40  # it failed


def test_keys_step_play_and_scrub(read):
    report = read()
    report.ready()
    for key, frame in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        report.press(key)
        report.at(frame)
        assert [report.number(arm) for arm in range(3)] == [frame] * 3
    # Keys that come faster than pictures are all counted.
    report.page.evaluate("for (let i = 0; i < 5; i++) report.film.step(1)")
    report.at(6)
    assert [report.number(arm) for arm in range(3)] == [6] * 3
    report.press("m")
    report.wait("report.film.video.muted")
    assert report.page.get_by_role("button", name="Mute").get_attribute("aria-pressed") == "true"
    report.press("l")
    assert report.page.get_by_role("button", name="Loop").get_attribute("aria-pressed") == "true"
    report.press(" ")
    report.wait("report.film.playing && report.film.frame > 9")
    assert report.page.get_by_role("button", name="Pause").is_visible()
    report.press(" ")
    report.wait("!report.film.playing")
    frame = report.page.evaluate("report.film.frame")
    report.page.locator("#scrub").focus()
    report.press("Home")
    report.at(0)
    report.press("ArrowRight")
    report.at(1)
    report.press("End")
    report.at(FRAMES - 1)
    assert report.page.evaluate("document.getElementById('scrub').getAttribute('aria-valuetext')").startswith("1.96 s")
    assert frame < FRAMES


def test_wipe_shows_one_arm_on_each_side(read):
    report = read()
    report.ready()
    report.page.locator("#right").select_option("2")
    report.seek(5)
    patch = np.s_[60:84, 12:28]
    assert report.page.locator("#wipe .right").inner_text() == LONG
    assert report.pixels("#wipe canvas")[patch][..., 2].mean() > 80  # grey: still the left arm's
    split = report.page.get_by_role("slider", name="Where the left picture ends")
    split.focus()
    report.press("Home")
    report.wait("report.pair.split.value === '0'")
    assert report.pixels("#wipe canvas")[patch][..., 0].mean() > 200  # yellow: the right arm's
    report.press("ArrowRight")
    assert report.page.evaluate("report.film.frame") == 5  # the slider's own key, not the player's
    stage = report.page.locator("#wipe")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    report.page.mouse.move(box["x"] + 3, box["y"] + box["height"] / 2)
    report.page.mouse.down()
    report.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    report.page.mouse.up()
    assert abs(float(split.input_value()) - 75) < 2
    assert report.pixels("#wipe canvas")[patch][..., 0].mean() < 120


def test_difference_of_equal_arms_is_black_and_of_others_bright(read):
    report = read()
    report.ready()
    report.page.locator("#right").select_option("1")
    report.seek(7)
    equal = report.pixels("#difference canvas")
    assert equal.mean() < 1.5 and np.quantile(equal, 0.99) < 14  # coding
    canvas = report.page.locator("#difference canvas")
    canvas.scroll_into_view_if_needed()

    def shown() -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)

    assert shown().mean() < 3
    report.page.locator("#right").select_option("2")
    other = report.pixels("#difference canvas")
    assert other[60:84, 12:28].mean() > 70 and other[8:40].mean() < 2
    painted = shown()
    side = painted.shape[0]
    patch = np.s_[side * 62 // 96 : side * 82 // 96, side * 14 // 96 : side * 26 // 96]
    assert painted[patch].mean() > 200 and painted[: side * 40 // 96].mean() < 6
    report.page.locator("#gain").select_option("1")
    assert shown()[patch].mean() < painted[patch].mean() - 40
    assert "of 255" in report.page.locator("#scale-high").inner_text()


def test_plots_follow_and_lead(read):
    report = read()
    report.ready()
    report.seek(25)
    plot = report.page.locator('.plot[data-track="frame_ms"]')
    assert abs(float(plot.evaluate("(each) => each.style.getPropertyValue('--at')")) - 51) < 0.01
    wave = sample()["tracks"]["arms"]["splat"]["frame_ms"]
    assert float(plot.locator(".legend b").first.inner_text()) == pytest.approx(wave[25], rel=0.01)
    area = plot.locator(".area")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    report.page.mouse.click(box["x"] + box["width"] * 0.301, box["y"] + 20)
    report.at(15)
    assert report.number(0) == 15
    cursor = plot.locator(".cursor").bounding_box()
    assert abs(cursor["x"] + 1 - box["x"] - box["width"] * 15.5 / FRAMES) < 2
    report.page.locator("#shown input").nth(2).uncheck()
    assert plot.locator(".series:visible").count() == 2


def test_a_moment_leads_the_players_there(read):
    report = read()
    report.ready()
    report.page.get_by_role("link", name="Show 1.2 s").click()
    report.at(30)
    assert report.number(1) == 30


def test_says_what_is_sure_in_words(read):
    report = read()
    cell = report.page.locator("#figures tr", has_text="Figure gain").locator("td")
    assert "−0.49" in cell.nth(2).inner_text() and "surely less" in cell.nth(2).inner_text()
    assert "equal" in cell.nth(1).inner_text()
    assert "Not measured: figure lve (there is no reference)." in report.page.locator("#figures").inner_text()
    assert "not sure" in report.page.locator("#figures tr", has_text="Figure lag").locator("td").nth(2).inner_text()


def test_text_and_tables_need_no_script(read):
    report = read(java_script_enabled=False)
    page = report.page
    assert page.locator("#figures table").count() == 3
    assert page.locator("noscript p").is_visible()
    assert page.locator("#transport").is_hidden()


def test_a_film_too_large_is_played_from_beside(read, folder, monkeypatch):
    monkeypatch.setattr("marotte.runtime.compare.report.MOST_FILM", 1000)
    other = folder / "large"
    other.mkdir()
    for name in ("grid.mp4", "moments", "heat"):
        (other / name).symlink_to(folder / name)
    report = read(write_report(other, sample()))
    report.ready()
    report.seek(20)
    report.page.get_by_text("has to stay beside this file").wait_for()
    shown = Image.open(io.BytesIO(report.page.locator('#players canvas[data-arm="0"]').screenshot())).convert("L")
    assert np.ptp(np.asarray(shown).astype(int)) > 100
