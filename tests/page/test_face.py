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

ways = pytest.mark.parametrize("way", ["webrtc", "ws"])


@ways
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
    opened.shows(10)
    assert opened.refused == []


def test_webrtc_is_what_it_tries_first(visit):
    opened = visit()
    opened.shows()
    assert opened.stats()["transport"] == "webrtc"


def test_websocket_where_webrtc_cannot_connect(visit):
    opened = visit()
    opened.page.add_init_script("delete window.RTCPeerConnection")
    opened.page.reload()
    opened.shows()
    assert opened.stats()["transport"] == "ws"


@ways
def test_lips_move_with_a_file_and_rest_after_an_interruption(visit, way):
    opened = visit(f"?transport={way}")
    opened.shows()
    opened.page.locator("h1").click()
    silent, at_rest = opened.changes(), opened.look()
    opened.say()
    opened.wait_state("speaking")
    opened.shows(10)
    assert opened.page.locator("#progress").is_visible()
    assert opened.page.locator("#caption").inner_text() == "speech.wav"
    speaking = opened.changes()
    assert speaking > 3 * silent
    opened.page.evaluate("""window.said = [];
        new MutationObserver(() => said.push(document.getElementById('state-text').textContent))
            .observe(document.getElementById('state'), {subtree: true, childList: true})""")
    opened.page.keyboard.press("Escape")
    opened.wait_state("ready")
    assert opened.page.evaluate("said") == ["Interrupted", "Ready"]
    assert opened.page.locator("#progress").is_hidden()
    opened.shows(10)
    assert np.abs(opened.look() - at_rest).mean() < speaking / 2


@ways
def test_the_microphone_moves_the_lips(visit, way):
    opened = visit(f"?transport={way}")
    opened.shows()
    silent = opened.changes()
    microphone = opened.page.get_by_role("button", name="Microphone")
    microphone.click()
    opened.wait_state("listening")
    assert microphone.get_attribute("aria-pressed") == "true"
    assert opened.page.get_by_text("Wear headphones").is_visible()
    opened.wait("marotte.stats().then((stats) => stats.position)")
    opened.shows(10)
    assert opened.changes() > 3 * silent
    microphone.click()
    opened.wait_state("ready")
    assert microphone.get_attribute("aria-pressed") == "false"


def test_a_second_file_stops_the_microphone_and_says_the_file(visit):
    opened = visit()
    opened.shows()
    microphone = opened.page.get_by_role("button", name="Microphone")
    microphone.click()
    opened.wait_state("listening")
    opened.say()
    opened.wait_state("speaking")
    assert microphone.get_attribute("aria-pressed") == "false"


def test_a_file_is_dropped_on_the_face(visit):
    opened = visit()
    opened.shows()
    opened.page.evaluate(DROP, ["dragover", base64.b64encode(SPEECH.read_bytes()).decode()])
    assert opened.page.get_by_text("Drop a sound file to hear it spoken").is_visible()
    opened.page.evaluate(DROP, ["drop", base64.b64encode(SPEECH.read_bytes()).decode()])
    opened.wait_state("speaking")
    assert opened.page.get_by_text("Drop a sound file to hear it spoken").is_hidden()


def test_a_refused_file_says_why(visit, tmp_path):
    opened = visit()
    opened.shows()
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


@ways
def test_measuring_reads_each_picture_number_and_hears_bursts(visit, way, tmp_path):
    import soundfile

    tone = 0.6 * np.sin(2 * np.pi * 1000 * np.arange(4800) / 48000)
    once = np.concatenate([np.zeros(19200), tone])
    soundfile.write(tmp_path / "bursts.wav", np.tile(once, 4), 48000)
    opened = visit(f"?transport={way}&measure=1")
    opened.shows()
    opened.page.locator("h1").click()
    opened.wait("marotte.stats().then((stats) => stats.audible)")
    opened.say(tmp_path / "bursts.wav")
    opened.wait("marotte.measure.bursts.length >= 4")
    numbers = [counter for counter, _ in opened.page.evaluate("marotte.measure.counters")]
    # 5 pictures a second: the number of each is a multiple of 200 ms, and none comes twice or too late.
    assert len(numbers) > 5
    assert all(number % 200 == 0 for number in numbers)
    assert numbers == sorted(set(numbers))
    assert len(opened.page.evaluate("marotte.measure.bursts")) == 4
    assert opened.stats()["lastCounter"] == pytest.approx(numbers[-1], abs=60_000)
