"""A real server with a real studio behind it, and a client."""

import asyncio
import gc
import ssl
import sys
import threading
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from types import SimpleNamespace

import pytest

pytest.importorskip("aiohttp", reason="the extra `live` is not installed")
pytest.importorskip("aiortc", reason="the extra `live` is not installed")

import aiohttp
import numpy as np

from marotte.runtime.live import metrics, viewing
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.studio import Studio
from marotte.runtime.serve.app import SERVER
from marotte.runtime.serve.config import ServeConfig
from marotte.runtime.serve.server import Listening, bind

# The avatar with few Gaussians.
SETTINGS = LiveSettings(driver="acoustic", width=64, height=64, fps=Fraction(25), renderer_options={"variant": "live"})
# What ends a test that hangs; nothing is measured by it.
PATIENCE_S, WHOLE_S = 30, 150


class Client:
    """A program that uses the server. Every wait ends after a while."""

    def __init__(self, listening, http):
        self.listening, self.http = listening, http
        self.address = f"http://127.0.0.1:{listening.port}"
        self.app, self.studio, self.rooms = listening.app, listening.studio, listening.app[SERVER].rooms

    def limit(self, *of, **limits):
        """Let connections, requests or rooms (of: `Listening`, `Server`, `Room`) have other limits from now on."""
        for each in of:
            if hasattr(each, "config"):
                each.config = replace(each.config, limits=replace(each.config.limits, **limits))
            else:
                each.limits = replace(each.limits, **limits)

    async def open(self, **asked):
        async with self.http.post("/v1/sessions", json=asked) as response:
            assert response.status == 201, await response.text()
            return await response.json()

    def control(self, session, **options):
        return self.http.ws_connect(session["urls"]["control"], **options)

    def media(self, session, **options):
        return self.http.ws_connect(session["urls"]["media"], **options)

    async def say(self, session, data):
        async with self.http.post(session["urls"]["say"], data=data) as response:
            return response.status, await response.json()

    async def end(self, session):
        async with self.http.delete(session["urls"]["self"]) as response:
            assert response.status == 204


async def heard(socket, kind, **wanted):
    """Return the next message of a kind."""
    while True:
        message = await socket.receive_json(timeout=PATIENCE_S)
        if message["type"] == kind and wanted.items() <= message.items():
            return message


async def until(true):
    for _ in range(PATIENCE_S * 50):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


async def left_by(use, rounds=7):
    """Return the bytes that each of several uses leaves behind: the median slope between any two of them (Theil-Sen).
    What a thread has in its hands just then, sometimes the whole of the last session, is in some of them only; a leak
    grows through all.

    Not in them is what the server counts (the newest delays of all sessions are kept up to a number that no test
    reaches, more of them on a fast machine), the loop's timers, which it sweeps now and then, yarl's addresses,
    of which it keeps so many, and the names in Python's cache of methods: numpy makes some anew for each call.
    """
    forget_names = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache  # from 3.13 on, and before
    left_out = [tracemalloc.Filter(False, name) for name in (metrics.__file__, "*/asyncio/*", "*/yarl/*")]
    kept, tasks = [], len(asyncio.all_tasks())
    tracemalloc.start()
    try:
        for _ in range(rounds + 1):
            await use()
            await until(lambda: len(asyncio.all_tasks()) <= tasks)  # they hold pictures that are on their way
            forget_names()
            gc.collect()
            kept.append(sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(left_out).traces))
    finally:
        tracemalloc.stop()
    return float(np.median([(b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(kept), 2)]))


@pytest.fixture(scope="session")
def tools():
    return SimpleNamespace(heard=heard, until=until, left_by=left_by, settings=SETTINGS, patience_s=PATIENCE_S)


@pytest.fixture(scope="session")
def costs():
    """What frames cost, which studios measure: here once for all of them. What is compiled is so from now on."""
    studio = Studio(share=1e9)
    studio.warm_up(SETTINGS)
    return studio._costs


@pytest.fixture
def all_sound(monkeypatch):
    """No viewer loses sound, however long the loop that reads it stands still."""
    monkeypatch.setattr(viewing, "_MOST_SOUND_S", 1e9)


@pytest.fixture
def serving(costs):
    """Run a coroutine function with a client of a new server; options: of its configuration, `limits` a dict."""

    async def served(work, studio, config):
        listening = Listening(config, studio, bind(config))
        await listening.start()
        listening.app[SERVER].rooms.ready.set()
        headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
        trust = ssl.create_default_context(cafile=config.tls_cert) if config.tls_cert else None
        address = f"http{'s' if trust else ''}://127.0.0.1:{listening.port}"
        connector = aiohttp.TCPConnector(ssl=trust) if trust else None
        async with aiohttp.ClientSession(address, headers=headers, connector=connector) as http:
            try:
                return await asyncio.wait_for(work(Client(listening, http)), WHOLE_S)
            finally:
                await listening.stop()

    def run(work, *, limits=None, **options):
        # Clients answer pings while they read, and on a slow machine they do not for a long time.
        limits = Limits(**{"heartbeat_s": 2.0 * WHOLE_S, **(limits or {})})
        options = {"port": 0, "session": SETTINGS, **options}
        studio = Studio(limits=limits, share=1e9)
        studio._costs = costs
        studio.start()
        try:
            return asyncio.run(served(work, studio, ServeConfig(limits=limits, **options)))
        finally:
            studio.close()
            ours = [thread for thread in threading.enumerate() if thread.name.startswith("marotte-")]
            for thread in ours:
                thread.join(PATIENCE_S)
            assert not [thread for thread in ours if thread.is_alive()]

    return run
