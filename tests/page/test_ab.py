"""Two faces side by side in a real browser: one speech, the same moment in both pictures, switched while it speaks."""

import numpy as np
import pytest

FPS = 5  # of the server
SECOND = "marotte.beside.transport"
LOOK = """
(which) => {
  const shown = which ? marotte.beside.transport.element : marotte.live.transport.element;
  const [width, height] = [shown.videoWidth || shown.width, shown.videoHeight || shown.height];
  const paper = new OffscreenCanvas(width, height).getContext("2d");
  paper.drawImage(shown, 0, 0);
  const at = [0.38 * width, 0.5 * height, 0.24 * width, 0.18 * height].map(Math.round);
  const {data} = paper.getImageData(...at);
  return Array.from({length: data.length / 4}, (_, i) => (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3);
}
"""
SEEN = """
() => ["pane-a", "pane-b"].map((id) => {
  const pane = document.getElementById(id);
  return !pane.hidden && getComputedStyle(pane).opacity === "1" && !pane.inert;
})
"""


def compare(opened):
    opened.shows(2)
    opened.page.locator("h1").click()
    opened.wait_state("ready")
    opened.page.locator("#compare-card > summary").click()
    opened.page.get_by_role("button", name="Compare", exact=True).click()
    opened.wait("marotte.beside.state === 'on'")


def rests(opened):
    """Return how much each mouth changes while both are still, grey values."""
    seen = [[], []]
    for _ in range(4):
        opened.shows(1)
        for which, looks in enumerate(seen):
            looks.append(opened.page.evaluate(LOOK, which))
    return [float(np.std(looks, axis=0).mean()) for looks in seen]


@pytest.mark.parametrize("way", ["webrtc", "ws"])
def test_both_speak_in_step_and_are_switched_while_they_do(visit, way):
    opened = visit(f"?transport={way}&measure=1")
    compare(opened)
    page = opened.page
    assert page.locator("#name-a").inner_text() == "A · acoustic"
    assert page.locator("#name-b").inner_text() == "B · viseme"
    still = rests(opened)
    opened.say()
    opened.wait_state("speaking")
    for which, quiet in enumerate(still):
        opened.moves(quiet, lambda which=which: page.evaluate(LOOK, which))
    before = opened.stats()
    page.evaluate("window.connected = [marotte.live.transport, marotte.beside.transport]")
    for key, seen in (("1", [True, False]), ("2", [False, True]), ("4", [True, True]), ("3", [True, True])):
        page.keyboard.press(key)
        assert page.evaluate(SEEN) == seen
    page.get_by_role("radio", name="Wipe").check()
    page.get_by_role("slider", name="Where A ends and B begins").press("ArrowLeft")
    assert page.evaluate("stage.style.getPropertyValue('--wipe')") == "49%"
    page.keyboard.press("x")
    assert page.locator("#name-b").inner_text() == "A · viseme"
    page.get_by_role("button", name="Swap A and B").click()
    page.get_by_role("radio", name="Both").check()
    opened.wait("marotte.besideMeasure.counters.length > 15")
    after = opened.stats()
    assert page.evaluate("connected[0] === marotte.live.transport && connected[1] === marotte.beside.transport")
    assert (after["session"], after["beside"]["session"]) == (before["session"], before["beside"]["session"])
    assert after["beside"]["shown"] > before["beside"]["shown"] and after["transport"] == way

    def apart():
        """Milliseconds between the same moment in both: the second's pictures against what the first shows then."""
        first, second = page.evaluate("[marotte.measure.counters, marotte.besideMeasure.counters]")
        first, at = np.array(first)[:, 0], np.array(first)[:, 1]
        return [abs(first[max(np.searchsorted(at, seen + 10) - 1, 0)] - number) for number, seen in second[-20:]]

    # To a frame, but not each: on a busy machine either loses some, and both may have to find their step again.
    opened.until(lambda: np.median(apart()) <= 1000 / FPS)
    # The panel has both.
    assert page.locator("#arms").is_visible()
    opened.wait("document.querySelector('#both dd').textContent.includes(' fps')")
    opened.page.keyboard.press("Escape")
    opened.wait_state("interrupted", "ready")
    page.get_by_role("button", name="Stop comparing").click()
    opened.wait("marotte.beside.state === 'off'")
    assert page.evaluate(SEEN) == [True, False] and page.locator("#views").is_hidden()
    opened.shows(3)
    assert opened.stats()["session"] == before["session"] and opened.refused == []


def test_the_second_is_replaced_fails_and_is_found_after_a_reload(visit):
    opened = visit("?transport=ws")
    compare(opened)
    page = opened.page
    opened.say()
    opened.wait_state("speaking")
    first, second = page.evaluate("[marotte.live.id, marotte.beside.id]")
    page.get_by_label("Variant").select_option("full")
    opened.wait(f"marotte.beside.state === 'on' && marotte.beside.id !== {second!r}")
    opened.wait("document.querySelectorAll('#screen-b > .layer').length === 1")
    assert page.evaluate(f"marotte.live.id === {first!r} && marotte.live.state === 'speaking'")
    assert page.locator("#name-b").inner_text() == "B · viseme · full"
    page.get_by_role("slider", name="Head motion").fill("0.5")
    opened.wait("marotte.beside.settings.head_motion === 0.5")
    # Another first brings its second along.
    page.evaluate("marotte.live.change({driver: 'viseme'})")
    opened.wait(f"marotte.live.id && marotte.live.id !== {first!r} && marotte.beside.state === 'on'")
    first, second = page.evaluate("[marotte.live.id, marotte.beside.id]")
    page.reload()
    opened.wait(f"window.marotte?.beside.state === 'on' && marotte.beside.id === {second!r}")
    # It ends on the server: the page says so, and the first goes on.
    page.evaluate(f"fetch('v1/sessions/{second}', {{method: 'DELETE'}}).then(() => true)")
    opened.wait("marotte.beside.state === 'failed'")
    assert "ended it" in page.get_by_role("alert").inner_text()
    assert "ended it" in page.locator("#b-state").text_content()
    opened.shows(3)
    assert opened.stats()["session"] == first


def test_a_phone_shows_both(visit):
    opened = visit("?transport=ws", width=390, height=844, is_mobile=True, has_touch=True)
    compare(opened)
    for width, height in ((390, 844), (844, 390)):
        opened.page.evaluate("marotte.compare.show('both')")
        opened.page.set_viewport_size({"width": width, "height": height})
        fits(opened.page, width, height)


def fits(page, width, height):
    """Both have room, and what is touched is large enough."""
    boxes = [page.locator(pane).bounding_box() for pane in ("#pane-a", "#pane-b")]
    stacked = height > width
    assert (boxes[0]["x"] == boxes[1]["x"]) == stacked and (boxes[0]["y"] == boxes[1]["y"]) != stacked
    assert boxes[0]["width"] == pytest.approx(boxes[0]["height"], abs=8) and boxes[0]["width"] > 90
    for view in ("both", "wipe", "a"):
        page.evaluate(f"marotte.compare.show('{view}')")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("scrollTo(0, 0)")
        box = page.locator("#dock").bounding_box()
        assert box and (box["y"] + box["height"] <= height or view == "wipe")
    small = page.evaluate(
        "[...document.querySelectorAll('#views label, #views button, #compare select, #compare button')]"
        ".filter((each) => each.offsetHeight < 43.9 || each.offsetWidth < 43.9).map((each) => each.outerHTML)"
    )
    assert small == []
