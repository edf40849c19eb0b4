"""A live server in a process of its own, and one Chromium that looks at it; both for all tests here."""

import io
import os
import re
import shutil
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest

CHROMIUM = "/usr/bin/chromium"
SPEECH = Path(__file__).resolve().parents[2] / "demos" / "speech.wav"
# Chromium as root and without a display; the autoplay rule stays as users have it.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream "
    f"--use-file-for-fake-audio-capture={SPEECH}"
).split()
READY = re.compile(r"(http://127\.0\.0\.1:\d+)/")
# Long beyond anything that a loaded machine needs: nothing is measured by it.
PATIENCE_MS = 40_000

# The grey values of the middle of the lower face, from whatever shows the picture.
LOOK = """
([x0, y0, x1, y1]) => {
  const shown = marotte.live.transport.element;
  const [width, height] = [shown.videoWidth || shown.width, shown.videoHeight || shown.height];
  const paper = new OffscreenCanvas(width, height).getContext("2d");
  paper.drawImage(shown, 0, 0);
  const [left, top] = [Math.round(x0 * width), Math.round(y0 * height)];
  const {data} = paper.getImageData(left, top, Math.round((x1 - x0) * width), Math.round((y1 - y0) * height));
  return Array.from({length: data.length / 4}, (_, i) => (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3);
}
"""
MOUTH = (0.38, 0.5, 0.62, 0.68)
# Keeps what the element of a name says, each time that it changes.
FOLLOW = """
(name) => {
  const element = document.getElementById(name);
  const said = ((window.followed ??= {})[name] = []);
  new MutationObserver(() => said.push(element.textContent)).observe(element, {subtree: true, childList: true});
}
"""


@cache
def long_speech() -> bytes:
    """The demo's speech several times over, a WAV file."""
    out = io.BytesIO()
    with wave.open(str(SPEECH)) as once, wave.open(out, "wb") as whole:
        whole.setparams(once.getparams())
        whole.writeframes(once.readframes(once.getnframes()) * 5)
    return out.getvalue()


@contextmanager
def serving(*options: str, port: int = 0) -> Iterator[str]:
    """Run `marotte live`; give its address once it is ready."""
    command = [sys.executable, "-m", "marotte", "live", "--port", str(port), "--threads", "1", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout
        lines = []
        try:
            for line in server.stdout:
                lines.append(line)
                if "ready" in line:
                    break
            found = READY.search("".join(lines))
            assert found, "".join(lines)
            # What it says later is read, or it would have to wait.
            threading.Thread(target=server.stdout.read, daemon=True).start()
            yield found.group(1)
        finally:
            server.terminate()
            server.wait(PATIENCE_MS / 1000)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="the live server is not installed: pip install 'marotte[live]'")
    pytest.importorskip("aiortc", reason="the live server is not installed: pip install 'marotte[live]'")
    # Without idle life what moves is speech. Few small pictures: a busy machine has time for two faces.
    with serving("--size", "216", "--fps", "5", "--driver", "acoustic", "--counter", "--idle", "0") as found:
        yield found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}")
    home = tmp_path_factory.mktemp("home")
    places = {
        name: str(home)
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
    }
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env={**os.environ, **places})
        yield browser
        browser.close()
    shutil.rmtree(home, ignore_errors=True)


@dataclass
class Opened:
    """A page that is open, and what went wrong in it."""

    page: object
    faults: list[str] = field(default_factory=list)
    refused: list[tuple[str, int]] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def wait(self, condition: str) -> None:
        """Wait until an expression in the page is true. Playwright's own way needs `eval`, which the page forbids."""
        for _ in range(PATIENCE_MS // 50):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {condition}; {self.page.evaluate('marotte.stats()')}")

    def wait_state(self, *states: str) -> None:
        self.wait(f"{list(states)}.includes(marotte.live.state)")

    def stats(self) -> dict:
        return self.page.evaluate("marotte.stats()")

    def shows(self, more: int = 2) -> None:
        """Wait until some more pictures have been shown."""
        self.wait("marotte.live.transport?.element.classList.contains('seen')")
        shown = self.stats()["shown"]
        self.wait(f"marotte.live.transport?.stats().then((now) => now.shown >= {shown + more})")

    def look(self, place: tuple = MOUTH) -> np.ndarray:
        return np.array(self.page.evaluate(LOOK, place))

    def rests(self) -> tuple[np.ndarray, float]:
        """Return the mouth of a face that is still, and how much it changes over some pictures, grey values."""
        seen = []
        for _ in range(4):
            self.shows(1)
            seen.append(self.look())
        return seen[-1], float(np.std(seen, axis=0).mean())

    def texts(self, name: str) -> Callable[[], list[str]]:
        """Follow what an element says from now on; return what tells all of it."""
        self.page.evaluate(FOLLOW, name)
        return lambda: self.page.evaluate("(name) => followed[name]", name)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true that is not of the page alone."""
        for _ in range(PATIENCE_MS // 50):
            if true():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"it did not happen; {self.page.evaluate('marotte.stats()')}")

    def moves(self, quiet: float, look: Callable[[], np.ndarray] | None = None) -> float:
        """Wait until the mouth has changed by far more than one that is still does; return by how much."""
        seen, look = [], look or self.look
        self.until(lambda: seen.append(look()) or np.std(seen[-20:], axis=0).mean() > 3 * quiet + 1)
        return float(np.std(seen[-20:], axis=0).mean())

    def say(self, file: Path | None = None) -> None:
        """Pick a sound file: what is said is longer than anything that is done while it is."""
        spoken = {"name": SPEECH.name, "mimeType": "audio/wav", "buffer": long_speech()}
        self.page.set_input_files("#pick", file or spoken)


@pytest.fixture(scope="module")
def visiting(chromium, address) -> Callable:
    """Open the page until the end of the block; what goes wrong in it is kept."""

    @contextmanager
    def go(query: str = "", *, at: str = address, **options) -> Iterator[Opened]:
        size = {"width": options.pop("width", 1280), "height": options.pop("height", 800)}
        context = chromium.new_context(viewport=size, **options)
        page = context.new_page()
        one = Opened(page)
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.blockedURI))")
        page.on("pageerror", lambda error: one.faults.append(str(error)))
        page.on(
            "console",
            lambda said: (
                one.faults.append(said.text)
                if said.type == "error" and not said.text.startswith("Failed to load resource")
                else None
            ),
        )
        page.on("request", lambda request: one.hosts.add(request.url.split("/")[2]))
        page.on("websocket", lambda socket: one.hosts.add(socket.url.split("/")[2]))
        page.on(
            "response",
            lambda answer: one.refused.append((answer.url, answer.status)) if answer.status >= 400 else None,
        )
        try:
            page.goto(f"{at}/{query}")
            one.wait("Boolean(window.marotte && marotte.live.transport)")
            yield one
            # Its share of the server is for the next test.
            one.page.evaluate("window.marotte?.live.end()")
        finally:
            context.close()

    return go


def _is_well(one: Opened) -> None:
    assert one.faults == []
    assert len(one.hosts) == 1


@pytest.fixture
def visit(visiting) -> Iterator[Callable[..., Opened]]:
    """Open the page, `visit("?transport=ws", width=390, height=844)`; after the test nothing may have gone wrong."""
    opened: list[Opened] = []
    with ExitStack() as stack:

        def go(*arguments, **options) -> Opened:
            opened.append(stack.enter_context(visiting(*arguments, **options)))
            return opened[-1]

        yield go
    for one in opened:
        _is_well(one)


@pytest.fixture(scope="module")
def kept(visiting) -> Iterator[Opened]:
    """The page that `shared` is."""
    with visiting() as one:
        yield one


@pytest.fixture
def shared(kept) -> Iterator[Opened]:
    """The page, silent, that other tests of a file have used and will; nothing may go wrong in any of them."""
    kept.faults.clear()
    kept.refused.clear()
    kept.shows(1)
    kept.wait_state("ready")
    yield kept
    kept.page.evaluate("marotte.live.interrupt()")
    _is_well(kept)
