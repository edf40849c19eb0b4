"""What surrounds the face: it is found again, its settings work, it can be used by keyboard, by ear and on a phone."""

import contextlib
import socket
import threading
import urllib.request
from pathlib import Path

# What a browser calls things that can be used, in the order of the Tab key.
ORDER = [
    "Skip to the controls",
    "file",
    "mic",
    "stop",
    "mute",
    "avatar",
    "driver",
    "size",
    "fps",
    "expressiveness",
    "head_motion",
    "background",
    "Of your choice",
    "summary",
    "summary",
    "interface for programs",
]
FOCUSED = """
() => {
  const at = document.activeElement;
  return at.id || at.name || (at.matches("summary") ? "summary" : (at.labels?.[0] ?? at).textContent);
}
"""
NAMELESS = """
() => [...document.querySelectorAll("button, a, select, input:not([type=file]), [role]")].filter((each) =>
  !(each.getAttribute("aria-label") || each.labels?.[0]?.textContent.trim() || each.textContent.trim())
).map((each) => each.outerHTML)
"""
SMALL = """
() => [...document.querySelectorAll("button, select, summary, .swatch, input[type=range], .foot a")]
  .filter((each) => each.offsetParent && (each.getBoundingClientRect().height < 43.9 || each.offsetWidth < 43.9))
  .map((each) => each.outerHTML)
"""


def test_a_reload_finds_the_session_again(visit):
    opened = visit()
    opened.shows()
    session = opened.stats()["session"]
    opened.page.reload()
    opened.shows()
    opened.wait_state("ready")
    assert opened.stats()["session"] == session
    opened.say()
    opened.wait_state("speaking")
    opened.page.reload()
    opened.shows()
    # It is still speaking, and can be stopped.
    opened.wait_state("speaking")
    opened.page.get_by_role("button", name="Stop").click()
    opened.wait_state("interrupted", "ready")
    assert opened.refused == []


class Relay:
    """A port of its own that leads to a server, until it is cut and mended."""

    def __init__(self, address):
        self.host, _, port = address.removeprefix("http://").partition(":")
        self.to, self.port = int(port), 0
        self.mend()

    def mend(self):
        self.open = [socket.create_server((self.host, self.port))]
        self.port = self.open[0].getsockname()[1]
        threading.Thread(target=self._accept, args=self.open, daemon=True).start()

    def cut(self):
        for each in self.open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listening):
        with contextlib.suppress(OSError):
            while True:
                ends = listening.accept()[0], socket.create_connection((self.host, self.to))
                self.open += ends
                for one, other in (ends, ends[::-1]):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


def test_a_server_that_comes_back_is_found_again(visit, address):
    relay = Relay(address)
    opened = visit(at=f"http://{relay.host}:{relay.port}")
    opened.shows()
    session = opened.stats()["session"]
    relay.cut()
    opened.wait_state("reconnecting")
    assert opened.page.locator("#state-text").inner_text() == "Reconnecting"
    assert opened.page.get_by_role("alert").first.is_visible()
    # What comes back is a server that knows nothing of before.
    ended = urllib.request.Request(f"{address}/v1/sessions/{session}", method="DELETE")
    urllib.request.urlopen(ended, timeout=60).close()
    relay.mend()
    opened.wait_state("ready")
    opened.shows()
    assert opened.stats()["session"] != session
    opened.faults.clear()  # a browser reports the connections that it could not make


def test_a_closed_tab_gives_its_session_back(visit):
    opened = visit()
    opened.shows()
    context, session = opened.page.context, opened.stats()["session"]
    address = opened.page.url
    opened.page.close()
    second = context.new_page()
    second.goto(address)
    opened.page = second
    opened.shows()
    assert opened.stats()["session"] != session
    status = opened.page.evaluate(f"fetch('v1/sessions/{session}').then((answer) => answer.status)")
    assert status == 404


def test_settings_change_the_face(visit):
    opened = visit()
    opened.shows()
    session = opened.stats()["session"]
    opened.page.get_by_role("radio", name="Night").check()
    opened.wait("marotte.live.settings.background === '#15181d'")
    opened.until(lambda: opened.look((0.02, 0.1, 0.08, 0.2)).mean() < 60)
    opened.page.locator("#expressiveness").fill("2")
    opened.wait("marotte.live.settings.expressiveness === 2")
    assert opened.stats()["session"] == session
    opened.page.get_by_label("Pixels").select_option("256")
    opened.wait(f"marotte.live.id && marotte.live.id !== {session!r}")
    opened.shows()
    stats = opened.stats()
    assert stats["settings"]["size"] == [256, 256]
    assert stats["settings"]["background"] == "#15181d"
    assert stats["settings"]["expressiveness"] == 2
    # The picture before it has faded away.
    opened.wait("document.querySelectorAll('#screen > .layer').length === 1")


def test_settings_that_are_refused_leave_the_face_as_it_was(shared):
    opened = shared
    opened.page.evaluate("marotte.live.change({fps: 1000})")
    alert = opened.page.get_by_role("alert")
    alert.wait_for()
    assert "1000" in alert.inner_text()
    opened.shows()
    opened.wait_state("ready")
    assert opened.stats()["settings"]["fps"] == 5
    assert opened.page.get_by_label("Frames/s").input_value() == "5"


def test_it_is_used_by_keyboard(visit):
    opened = visit()
    opened.shows()
    opened.wait_state("ready")
    choosers = []
    opened.page.on("filechooser", lambda chooser: choosers.append(chooser))
    # A key is a gesture: it sounds from now on, and what says otherwise is gone.
    mute = opened.page.locator("#mute")
    opened.page.keyboard.press("m")
    opened.page.get_by_role("button", name="Muted: click to hear").wait_for()
    opened.page.keyboard.press("m")
    opened.wait("marotte.stats().then((stats) => stats.audible)")
    passed = []
    for _ in ORDER:
        opened.page.keyboard.press("Tab")
        passed.append(opened.page.evaluate(FOCUSED))
    assert passed == ORDER
    opened.page.keyboard.press("m")
    assert mute.get_attribute("aria-pressed") == "true"
    assert opened.page.get_by_role("button", name="Muted: click to hear").is_visible()
    assert not opened.stats()["audible"]
    opened.page.keyboard.press("m")
    assert mute.get_attribute("aria-pressed") == "false"
    opened.wait_state("ready")
    opened.page.locator("#file").focus()
    opened.page.keyboard.press("Enter")
    opened.until(lambda: choosers)
    choosers[0].set_files(Path(__file__).resolve().parents[2] / "demos" / "speech.wav")
    opened.wait_state("speaking")
    opened.page.keyboard.press("Escape")
    opened.wait_state("interrupted", "ready")


def test_everything_has_a_name_and_what_happens_is_said(shared):
    page = shared.page
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title()
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("status").inner_text() == "Ready"
    assert page.locator("#state").get_attribute("aria-live") == "polite"
    for role, name in (
        ("main", None),
        ("group", "Speech"),
        ("form", "Settings"),
        ("slider", "Head motion"),
        ("combobox", "Avatar"),
        ("group", "Background"),
    ):
        assert page.get_by_role(role, name=name).count() == 1, role
    names = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert sorted(names) == sorted(set(names))


def test_a_phone_has_room_for_it(visit):
    opened = visit(width=360, height=740, is_mobile=True, has_touch=True)
    opened.shows()
    page = opened.page
    for width, height in ((360, 740), (844, 390)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#live > summary").tap()
        assert page.evaluate(SMALL) == []
        assert page.locator("#stages").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Face and dock are seen together.
        page.evaluate("scrollTo(0, 0)")
        box = page.locator("#dock").bounding_box()
        assert box and box["y"] + box["height"] <= height
        page.locator("#live > summary").tap()


def test_nothing_moves_while_it_loads(visit):
    opened = visit()
    opened.shows()
    shift = """new Promise((resolve) => {
        new PerformanceObserver((list) => resolve(list.getEntries().reduce((sum, each) => sum + each.value, 0)))
            .observe({type: 'layout-shift', buffered: true});
        setTimeout(() => resolve(0), 300);
    })"""
    # A word that becomes longer is less than this, a row that is pushed down is more.
    assert opened.page.evaluate(shift) < 0.005
