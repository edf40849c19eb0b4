"""What `marotte bench --live` measures with: a server of its own, its page in headless Chromium, a program."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.video.ffmpeg import kill

_READY_S, _PAGE_S, _ANSWER_S = 120.0, 20.0, 10.0
_PACKET = SAMPLE_RATE // 50
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Why these: FINDINGS, "WebRTC".
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
).split()


class Server:
    """A `marotte live` of our own. arguments: for it, after the command's name."""

    def __init__(self, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "marotte", "live", "--port", "0", "--counter", *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._errors: deque[str] = deque(maxlen=20)
        self._lines: deque[str] = deque(maxlen=100)
        for pipe, kept in ((self._process.stderr, self._errors), (self._process.stdout, self._lines)):
            threading.Thread(target=_keep, args=(pipe, kept), daemon=True).start()
        self.url = ""

    async def ready(self) -> None:
        """Wait until sessions can be opened."""
        end = time.monotonic() + _READY_S
        while not any(": ready" in line for line in list(self._lines)):
            if self._process.poll() is not None:
                await asyncio.sleep(0.1)
                raise MarotteError(f"the server did not start: {(list(self._errors) or ['it gave no reason'])[-1]}")
            if time.monotonic() > end:
                raise MarotteError(f"the server was not ready within {_READY_S:g} s")
            await asyncio.sleep(0.05)
        self.url = next(found[0] for line in self._lines if (found := re.search(r"https?://\S+", line)))

    def memory(self) -> int:
        """Return the bytes of memory that it has, 0 where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        kill(self._process)


def _keep(pipe: Any, lines: deque[str]) -> None:
    with pipe:
        for line in pipe:
            lines.append(line.decode("utf-8", "replace").rstrip())


class Page:
    """The server's page in a browser that nobody sees."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._offset = 0.0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["Page"]:
        """Open it and wait for its first picture. Raises MarotteError."""
        try:
            from playwright.async_api import Error, async_playwright
        except ImportError as error:
            raise MarotteError("the page is measured with playwright: pip install playwright") from error
        found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
            places = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
            async with async_playwright() as playwright:
                try:
                    browser = await playwright.chromium.launch(executable_path=found, args=_FLAGS, env=dict(places))
                    page = cls(await browser.new_page(viewport={"width": 1000, "height": 800}))
                    await page._page.goto(f"{url}{'&' if '?' in url else '?'}measure=1")
                    await page._page.wait_for_function("window.marotte", timeout=1000 * _PAGE_S)
                    await asyncio.wait_for(page.run("marotte.first.then(() => null)"), _PAGE_S)
                except (Error, TimeoutError) as error:
                    reason = (str(error).splitlines() or ["no picture came"])[0]
                    with contextlib.suppress(Error, UnboundLocalError):
                        reason += f"; the page says {await page.stats()}"
                    raise MarotteError(f"the page could not be measured in Chromium: {reason}") from error
                await page.synchronise()
                yield page
                await browser.close()

    async def run(self, script: str) -> Any:
        """Return what an expression is in the page."""
        return await self._page.evaluate(script)

    async def synchronise(self) -> None:
        """Find the page's clock: from the quickest of some answers."""
        best = np.inf
        for _ in range(10):
            before = time.monotonic()
            there = await self.run("performance.now()")
            after = time.monotonic()
            if after - before < best:
                best, self._offset = after - before, (before + after) / 2 - there / 1000

    async def stats(self) -> dict[str, Any]:
        """Return `window.marotte.stats()`."""
        found: dict[str, Any] = await self.run("marotte.stats()")
        return found

    async def measured(self) -> tuple[np.ndarray, np.ndarray]:
        """Return pictures [n, 2], the session's seconds and when they were seen, and when bursts were heard [m].

        Times are of `time.monotonic()`; what was returned is forgotten.
        """
        counters, bursts = await self.run("[marotte.measure.counters.splice(0), marotte.measure.bursts.splice(0)]")
        pictures = np.array(counters, float).reshape(-1, 2) / 1000
        pictures[:, 1] += self._offset
        return pictures, np.array(bursts, float) / 1000 + self._offset


class Api:
    """The server's interface for programs."""

    def __init__(self, http: Any, url: str) -> None:
        self._http, self._url = http, url

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["Api"]:
        """Open a client. Raises MarotteError."""
        try:
            import aiohttp
        except ImportError as error:
            raise MarotteError("live needs what is not installed (aiohttp): pip install 'marotte[live]'") from error
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S * 3)) as http:
            yield cls(http, url.partition("?")[0].rstrip("/"))

    async def session(self, **asked: Any) -> str:
        """Open a session and return its id."""
        async with self._http.post(f"{self._url}/v1/sessions", json=asked) as response:
            answer = await response.json()
            if response.status != 201:
                raise MarotteError(f"the server opens no session: {answer.get('error', response.status)}")
            return str(answer["id"])

    async def end(self, session: str) -> None:
        """End a session."""
        async with self._http.delete(f"{self._url}/v1/sessions/{session}"):
            pass

    async def metrics(self) -> dict[str, float]:
        """Return what `/metrics` counts, by name; histograms are left out."""
        async with self._http.get(f"{self._url}/metrics") as response:
            return read_metrics(await response.text())

    @contextlib.asynccontextmanager
    async def control(self, session: str) -> AsyncIterator["Program"]:
        """Connect a program to a session."""
        async with self._http.ws_connect(f"{self._url}/v1/sessions/{session}/control") as socket:
            program = Program(socket)
            reading = asyncio.create_task(program.read())
            try:
                yield program
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading

    @contextlib.asynccontextmanager
    async def media(self, session: str) -> AsyncIterator[Any]:
        """Connect to a session's media socket; its messages are bytes."""
        async with self._http.ws_connect(f"{self._url}/v1/sessions/{session}/media", max_msg_size=1 << 22) as socket:
            yield socket


class Program:
    """A control socket."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.messages: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    async def read(self) -> None:
        """Take what comes."""
        async for message in self._socket:
            async with self._news:
                self.messages.append(json.loads(message.data))
                self._news.notify_all()

    async def send(self, kind: str, **values: Any) -> float:
        """Send a message; return when."""
        at = time.monotonic()
        await self._socket.send_str(json.dumps({"type": kind, **values}))
        return at

    async def push(self, sound: np.ndarray) -> float:
        """Push int16 of the open turn; return when."""
        at = time.monotonic()
        await self._socket.send_bytes(sound.astype("<i2").tobytes())
        return at

    async def push_live(self, sound: np.ndarray) -> float:
        """Push sound of 16 kHz as fast as it is heard, 20 ms at a time; return when the first was sent."""
        began = time.monotonic()
        for index, start in enumerate(range(0, len(sound), _PACKET)):
            await asyncio.sleep(max(0.0, began + 0.02 * index - time.monotonic()))
            await self.push(sound[start : start + _PACKET])
        return began

    async def wait(self, fits: Callable[[dict[str, Any]], bool], seconds: float = _ANSWER_S) -> dict[str, Any]:
        """Return the first message that fits, of those that came and that are to come. Raises MarotteError."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [message for message in self.messages if fits(message)][:1]
            return bool(found)

        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(there), seconds)
            except TimeoutError:
                last = self.messages[-1] if self.messages else "nothing"
                raise MarotteError(f"the server did not answer in {seconds:g} s; it last said {last}") from None
        return found[0]

    async def next(self, kind: str) -> dict[str, Any]:
        """Return the next message of a kind."""
        told = len(self.messages)
        return await self.wait(lambda message: message["type"] == kind and message in self.messages[told:])

    async def of(self, kind: str, turn: str, seconds: float = _ANSWER_S) -> dict[str, Any]:
        """Return what is said of a turn: `started`, `finished`."""
        return await self.wait(lambda message: message["type"] == kind and message.get("turn") == turn, seconds)


def read_metrics(text: str) -> dict[str, float]:
    """Return the values without labels of Prometheus' text, by name without its prefix."""
    pairs = re.findall(r"^marotte_(\w+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in pairs}
