"""The page shows a face that speaks what it is given, by WebRTC and by WebSocket, in a real browser."""

import base64
from pathlib import Path

import numpy as np
import pytest

SPEECH = Path(__file__).resolve().parents[2] / "demos" / "speech.wav"
DROP = """
([type, data]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "dropped.wav"));
  document.querySelector("#screen").dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true}));
}
"""


@pytest.fixture(scope="module", params=["webrtc", "ws"])
def way(request):
    return request.param


@pytest.fixture(scope="module")
def spoken_to(visiting, way):
    """A page of each way that may sound, for several tests."""
    with visiting(f"?transport={way}&measure=1") as opened:
        opened.shows()
        opened.page.locator("h1").click()
        opened.wait("marotte.stats().then((stats) => stats.audible)")
        yield opened
        assert opened.faults == [] and len(opened.hosts) == 1


def test_shows_a_picture_at_once_silent_until_a_gesture_and_says_so(visit, way):
    opened = visit(f"?transport={way}")
    opened.shows()
    opened.wait_state("ready")
    stats = opened.stats()
    assert stats["transport"] == way
    assert not stats["audible"]
    hear = opened.page.get_by_role("button", name="Click to hear")
    assert hear.is_visible()
    hear.click()
    opened.wait("marotte.stats().then((stats) => stats.audible)")
    assert not hear.is_visible()
    assert opened.page.locator("#label").is_visible()
    # It goes on, now that its sound has a clock of its own.
    opened.shows(5)
    assert opened.refused == []


def test_webrtc_is_what_it_tries_first(shared):
    assert shared.stats()["transport"] == "webrtc"


def test_websocket_where_webrtc_cannot_connect(visit):
    opened = visit()
    opened.page.add_init_script("delete window.RTCPeerConnection")
    opened.page.reload()
    opened.shows()
    assert opened.stats()["transport"] == "ws"


def test_pictures_go_on_where_the_browser_dates_its_sound_in_the_future(visit):
    opened = visit("?transport=ws")
    opened.page.add_init_script("""AudioContext.prototype.getOutputTimestamp = function () {
        return {contextTime: this.currentTime, performanceTime: performance.now() + 1000 * this.currentTime};  // WebKit
    }""")
    opened.page.reload()
    opened.shows()
    opened.page.locator("h1").click()
    opened.wait("marotte.stats().then((stats) => stats.audible && stats.soundBufferMs)")
    opened.shows(20)


def test_lips_move_with_a_file_and_rest_after_an_interruption(spoken_to):
    opened = spoken_to
    opened.wait_state("ready")
    at_rest, quiet = opened.rests()
    opened.say()
    opened.wait_state("speaking")
    speaking = opened.moves(quiet)
    assert opened.page.locator("#progress").is_visible()
    assert opened.page.locator("#caption").inner_text() == "speech.wav"
    said = opened.texts("state-text")
    opened.page.keyboard.press("Escape")
    opened.wait_state("ready")
    assert said() == ["Interrupted", "Ready"]
    assert opened.page.locator("#progress").is_hidden()
    opened.until(lambda: np.abs(opened.look() - at_rest).mean() < speaking / 2)


def test_the_microphone_moves_the_lips(spoken_to):
    opened = spoken_to
    opened.wait_state("ready")
    _, quiet = opened.rests()
    microphone = opened.page.get_by_role("button", name="Microphone")
    microphone.click()
    opened.wait_state("listening")
    assert microphone.get_attribute("aria-pressed") == "true"
    assert opened.page.get_by_text("Wear headphones").is_visible()
    opened.wait("marotte.stats().then((stats) => stats.position)")
    opened.moves(quiet)
    microphone.click()
    opened.wait_state("ready")
    assert microphone.get_attribute("aria-pressed") == "false"


def test_a_second_file_stops_the_microphone_and_says_the_file(shared):
    opened = shared
    microphone = opened.page.get_by_role("button", name="Microphone")
    microphone.click()
    opened.wait_state("listening")
    opened.say()
    opened.wait(
        "marotte.stats().then((now) => now.position?.seconds > 60)"
    )  # the file's turn; the microphone's may begin late
    opened.wait_state("speaking")
    assert microphone.get_attribute("aria-pressed") == "false"


def test_two_files_are_said_one_after_the_other(shared, tmp_path):
    import soundfile

    opened = shared
    sound, rate = soundfile.read(SPEECH)
    soundfile.write(tmp_path / "first.wav", sound[:rate], rate)
    said = opened.texts("caption")
    opened.say(tmp_path / "first.wav")
    opened.say()
    opened.wait("marotte.stats().then((now) => now.position?.seconds > 60)")
    captions = [text for text in said() if not text.startswith("Sending")]
    assert list(dict.fromkeys(captions)) == ["first.wav", "speech.wav"]
    assert opened.page.locator("#progress").is_visible()


def test_stop_breaks_off_a_file_that_is_on_its_way(shared):
    opened = shared
    opened.page.route("**/say", lambda route: None)  # it does not arrive
    opened.say()
    caption, stop = opened.page.locator("#caption"), opened.page.get_by_role("button", name="Stop")
    opened.until(lambda: caption.inner_text().startswith("Sending"))
    assert stop.get_attribute("aria-disabled") == "false"
    with opened.page.expect_event("requestfailed"):
        stop.click()
    opened.until(caption.is_hidden)
    assert stop.get_attribute("aria-disabled") == "true"
    assert opened.page.get_by_role("alert").count() == 0
    opened.page.unroute("**/say")


def test_a_file_is_dropped_on_the_face(shared):
    opened = shared
    opened.page.evaluate(DROP, ["dragover", base64.b64encode(SPEECH.read_bytes()).decode()])
    assert opened.page.get_by_text("Drop a sound file to hear it spoken").is_visible()
    opened.page.evaluate(DROP, ["drop", base64.b64encode(SPEECH.read_bytes()).decode()])
    opened.wait_state("speaking")
    assert opened.page.get_by_text("Drop a sound file to hear it spoken").is_hidden()


def test_a_refused_file_says_why(shared, tmp_path):
    opened = shared
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear server, this is not sound.")
    opened.say(letter)
    alert = opened.page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().startswith("Letter.txt: ") and "no sound" in alert.inner_text()
    assert [status for _, status in opened.refused] == [415]
    opened.page.get_by_role("button", name="Dismiss").click()
    assert alert.count() == 0
    assert opened.stats()["state"] == "ready"


def test_measuring_reads_each_picture_number_and_hears_bursts(spoken_to, tmp_path):
    import soundfile

    tone = 0.6 * np.sin(2 * np.pi * 1000 * np.arange(4800) / 48000)
    once = np.concatenate([np.zeros(19200), tone])
    soundfile.write(tmp_path / "bursts.wav", np.tile(once, 4), 48000)
    opened = spoken_to
    opened.wait_state("ready")
    opened.page.evaluate("[marotte.measure.bursts.splice(0), marotte.measure.counters.splice(0)]")
    opened.say(tmp_path / "bursts.wav")
    opened.wait("marotte.measure.bursts.length >= 4 && marotte.measure.counters.length > 5")
    numbers = [counter for counter, _ in opened.page.evaluate("marotte.measure.counters")]
    # 5 pictures a second: the number of each is a multiple of 200 ms, and none comes twice or too late.
    assert all(number % 200 == 0 for number in numbers)
    assert numbers == sorted(set(numbers))
    assert len(opened.page.evaluate("marotte.measure.bursts")) == 4
    assert opened.stats()["lastCounter"] == pytest.approx(numbers[-1], abs=60_000)
