"""Pushing: what an address means, time in the pipe, real servers that come and go, and nothing that waits or leaks."""

import asyncio
import contextlib
import io
import shutil
import signal
import socket
import subprocess
import threading
import time
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

pytest.importorskip("av")

import av

from marotte.errors import MarotteError
from marotte.runtime.bench_live_simulated import bursts, make_simple, openness
from marotte.runtime.live import push as pushing
from marotte.runtime.live import push_target
from marotte.runtime.live.encode import H264Encoder
from marotte.runtime.live.push import Mux, Push
from marotte.runtime.live.push_target import read_target
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.studio import Studio
from marotte.runtime.live.viewing import Sound
from marotte.runtime.video.ffmpeg import Child, ffmpeg_exe
from marotte.runtime.video.probe import probe, read_frames

FPS = Fraction(30)
SETTINGS = LiveSettings(width=216, height=64, fps=FPS, idle=0, counter=True)
NGINX = shutil.which("nginx")
RTMP_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
# Of a recording: there is a burst every second.
_ENOUGH_S = 1.7


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what, seconds=30.0):
    for _ in range(round(seconds / 0.05)):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def recorded_s(path):
    """Return the seconds of sound in a file that is being written."""
    with contextlib.suppress(av.FFmpegError), av.open(str(path)) as container:
        return max((float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None), default=0.0)
    return 0.0


@pytest.fixture
def session():
    """A session that says bursts of a tone, with the jaw open while it does, until it is closed."""
    studio = Studio(share=1e9, make=make_simple)
    studio.start()
    opened = studio.open(SETTINGS)
    opened.speaker.speak("bursts")
    opened.speaker.push(bursts(0, 16000 * 60))
    yield opened
    studio.close()


class Server:
    """An ffmpeg that takes one stream and writes it to a file."""

    def __init__(self, url, path, *options):
        kept = ["-map", "0", "-c:v", "copy", "-c:a", "pcm_s16le", "-cluster_time_limit", "100", "-flush_packets", "1"]
        self.path, self.child = path, Child([*options, "-i", url, *kept, "-y", str(path)])

    def has_enough(self):
        """Wait until a burst or two are in the file."""
        wait_for(lambda: recorded_s(self.path) > _ENOUGH_S)

    def end(self):
        self.child.kill()


def assert_in_step(path):
    """Each burst that is heard is seen within two frames, as far as a busy machine drew them."""
    assert probe(path).audio_rate == 48000
    with av.open(str(path)) as container:
        times = np.array([float(f.time) for f in container.decode(video=0)])
    steps = np.diff(times) * float(FPS)  # a busy machine drops a late frame
    assert np.allclose(steps, np.rint(steps), atol=0.1) and 0.9 < steps.min() < 1.1
    open_ = np.array([openness(picture) > 0.5 for picture in read_frames(path)])
    # The mouth opened after the one picture, and for the other at the latest.
    seen = [(times[i - 1], times[i]) for i in range(1, len(open_)) if open_[i] and not open_[i - 1]]
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray().reshape(-1)[:: len(f.layout.channels)]) for f in container.decode(audio=0)]
    assert abs(frames[0][0] - times[0]) < 0.5
    start, pcm = frames[0][0], np.abs(np.concatenate([f for _, f in frames]).astype(int))
    loud = np.flatnonzero(pcm > 3000)
    heard = start + loud[np.diff(loud, prepend=-48000) > 24000] / 48000
    assert len(heard) >= 1
    for at in heard[(heard > times[1]) & (heard < times[-1] - 0.1)]:
        off = 2 / FPS + 0.01
        drawn = [closed + 1 / FPS - off < at < opened + off for closed, opened in seen]
        assert any(drawn) or np.diff(times)[(times[1:] > at) & (times[:-1] < at + 0.1)].max() > 0.1


# Addresses.


def test_addresses_are_shown_without_their_secrets():
    shown = {
        "rtmp://host:1935/app/KEY-1": "rtmp://host:1935/app/***",
        "rtmp://host/KEY-1": "rtmp://host/***",
        "rtmps://me:PW@host/app/deep/KEY-1?token=KEY-2": "rtmps://***@host/app/***?token=***",
        "srt://[::1]:9000?streamid=KEY-1&passphrase=KEY-2": "srt://[::1]:9000?streamid=***&passphrase=***",
        "https://KEY-1@host/whip/KEY-2": "https://***@host/***",
        "http://host:8080/whip?stream=a%20KEY": "http://host:8080/***?stream=***",
    }
    for url, expected in shown.items():
        target = read_target(url)
        assert target.shown == expected
        secrets = [secret for secret in ("KEY-1", "KEY-2", "PW", "a%20KEY") if secret in url]
        told = target.scrub(f"Error opening {url}: {' '.join(secrets)} {unquote(secrets[0])} refused")
        assert not any(secret in told for secret in ("KEY", "PW")) and "refused" in told
    assert read_target("https://TOKEN@host/whip").output[:2] == ("-authorization", "TOKEN")
    assert read_target("https://TOKEN@host/whip").output[-1] == "https://host/whip"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/KEY", "cannot push to an address of kind 'ftp'"),
        ("KEY", "cannot push to an address of kind 'none'"),
        ("rtmp:///KEY", "no host"),
        ("rtmp://host/KEY\n-f", "no host or has spaces"),
        ("srt://host:port/KEY", "no valid host and port"),
    ],
)
def test_other_addresses_are_refused_without_telling_them(url, message):
    with pytest.raises(MarotteError, match=message) as raised:
        read_target(url)
    assert "KEY" not in str(raised.value)


def test_an_ffmpeg_that_cannot_is_told_at_once(monkeypatch):
    class Said:
        stdout = b"Input:\n rtmp\nOutput:\n file\n"

    monkeypatch.setattr(push_target, "run_ffmpeg", lambda arguments: Said)
    with pytest.raises(MarotteError, match=r"cannot push to rtmp:// \(it lacks the muxer flv, rtmp\)"):
        read_target("rtmp://host/app/key")


# Time in the pipe.


def muxed(plan):
    """Return (video times, audio samples by time) of what a Mux made of ("see", tick, key) and ("hear", tick, n)."""
    file, encoder = io.BytesIO(), H264Encoder(64, 48, FPS)
    mux = Mux(file, 64, 48, FPS)
    for what, tick, value in plan:
        if what == "see":
            for packet in encoder.encode(np.zeros((48, 64, 3), np.uint8), tick, key=value):
                mux.see(packet)
        else:
            mux.hear(Sound(tick, np.full(value, 1000, np.int16)))
    mux.close()
    file.seek(0)
    with av.open(file) as container:
        packets = [(p.stream.type, float(p.pts * p.time_base), bytes(p)) for p in container.demux() if p.size]
    pictures = [at for kind, at, _ in packets if kind == "video"]
    sound = [(at, np.frombuffer(data, "<i2")) for kind, at, data in packets if kind == "audio"]
    return pictures, sound


def test_time_begins_at_a_key_frame_and_the_sound_has_no_gaps():
    plan = [("hear", 0, 4000), ("hear", 4000, 4000)]
    plan += [("see", 4800, True), ("hear", 8000, 1600), ("see", 6400, False), ("see", 8000, False)]
    plan += [("hear", 9600, 1600), ("hear", 16000, 1600), ("see", 16000, True), ("see", 14400, False)]
    plan += [("hear", 16800, 1600)]  # half of it was given before
    pictures, sound = muxed(plan)
    assert pictures == pytest.approx([0, 1 / 30, 2 / 30, 7 / 30], abs=1e-4)
    ends = 0.0
    for at, pcm in sound:
        assert at == pytest.approx(ends, abs=1e-4)
        ends = at + len(pcm) / 48000
    whole = np.concatenate([pcm for _, pcm in sound])
    assert len(whole) == 18400 - 4800
    assert (whole == 0).sum() == 16000 - 11200 and not whole[11200 - 4800 : 16000 - 4800].any()


def test_nothing_is_written_before_a_key_frame():
    assert muxed([("hear", 0, 96000 * 2), ("hear", 192000, 1600), ("see", 191000, True)])[1][0][0] == 0.0


# Servers.


def test_rtmp_comes_back_after_the_server_was_killed(session, tmp_path, monkeypatch):
    monkeypatch.setattr(pushing, "_FIRST_S", 0.1)
    url = f"rtmp://127.0.0.1:{free_port()}/live/KEY"
    states = []
    push = Push(session, url, states.append)
    try:
        for attempt in range(2):
            path = tmp_path / f"{attempt}.mkv"
            server = Server(url, path, "-listen", "1", "-f", "flv")
            try:
                wait_for(lambda: push.state.state == "pushing")
                server.has_enough()
            finally:
                server.child._process.terminate()
                server.child.wait(30)
                server.end()
            assert_in_step(path)
            wait_for(lambda: push.state.state != "pushing")
    finally:
        push.close()
    assert states[-1].state == "closed" and not session._viewers
    told = [state for state in states if state.state == "waiting"]
    assert told and all(state.reason for state in told)
    text = session.metrics.prometheus({})
    assert "marotte_push_state" not in text and "marotte_push_reconnects_total" in text
    assert "marotte_push_bytes_total" in text
    assert "KEY" not in text + repr(states)
    assert not any("push" in thread.name for thread in threading.enumerate())


def test_srt_from_ffmpeg_to_ffmpeg(session, tmp_path):
    url = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    path = tmp_path / "srt.mkv"
    server = Server(f"{url}?mode=listener", path, "-analyzeduration", "500000")
    push = Push(session, url)
    try:
        wait_for(lambda: push.state.state == "pushing")
        server.has_enough()
    finally:
        push.close()
        server.child.wait(30)
        server.end()
    assert_in_step(path)


@pytest.mark.skipif(not NGINX or not RTMP_MODULE.exists(), reason="nginx with libnginx-mod-rtmp is not installed")
def test_nginx_takes_rtmp(session, tmp_path):
    port = free_port()
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"load_module {RTMP_MODULE};\ndaemon off;\nuser root;\nworker_processes 1;\npid {tmp_path}/pid;\n"
        f"error_log {tmp_path}/error.log;\nevents {{}}\nrtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ "
        f"live on; record all; record_path {tmp_path}; record_suffix .flv; }} }} }}\n"
    )
    nginx = subprocess.Popen([NGINX, "-c", str(configuration), "-p", str(tmp_path)], stderr=subprocess.DEVNULL)
    push = Push(session, f"rtmp://127.0.0.1:{port}/live/KEY")
    try:
        wait_for(lambda: any(recorded_s(each) > _ENOUGH_S for each in tmp_path.glob("*.flv")))
    finally:
        push.close()
        nginx.send_signal(signal.SIGQUIT)  # once its connections are done
        nginx.wait(30)
    (recorded,) = tmp_path.glob("*.flv")
    again = tmp_path / "again.mkv"
    copy = ["-i", str(recorded), "-map", "0", "-c:v", "copy", "-c:a", "pcm_s16le", str(again)]
    assert subprocess.run([ffmpeg_exe(), "-loglevel", "error", *copy]).returncode == 0
    assert_in_step(again)


class WhipServer(threading.Thread):
    """Answers one WHIP offer and counts what comes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.port, self.ready = 0, threading.Event()
        self.loop = asyncio.new_event_loop()
        self.frames, self.authorization = {"video": 0, "audio": 0}, None

    def run(self):
        self.loop.run_until_complete(self.serve())

    async def serve(self):
        from aiohttp import web

        self.done, self.connections = asyncio.Event(), []
        app = web.Application()
        app.router.add_post("/whip/{name}", self.offer)
        app.router.add_delete("/whip/{name}", self.ended)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self.ready.set()
        await self.done.wait()
        for connection in self.connections:
            await connection.close()
        await runner.cleanup()

    async def offer(self, request):
        from aiohttp import web
        from aiortc import RTCPeerConnection, RTCSessionDescription

        self.authorization = request.headers.get("Authorization")
        connection = RTCPeerConnection()
        self.connections.append(connection)
        connection.on("track", lambda track: asyncio.ensure_future(self.count(track)))
        await connection.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        headers = {"Location": f"/whip/{request.match_info['name']}"}
        text = connection.localDescription.sdp
        return web.Response(status=201, text=text, content_type="application/sdp", headers=headers)

    async def ended(self, request):
        from aiohttp import web

        return web.Response()

    async def count(self, track):
        with contextlib.suppress(Exception):
            while True:
                await track.recv()
                self.frames[track.kind] += 1


def test_whip_into_aiortc(session):
    pytest.importorskip("aiortc")
    pytest.importorskip("aiohttp")
    server = WhipServer()
    server.start()
    assert server.ready.wait(30)
    push = Push(session, f"http://TOKEN@127.0.0.1:{server.port}/whip/KEY")
    try:
        wait_for(lambda: server.frames["video"] > 30 and server.frames["audio"] > 50)
        wait_for(lambda: push.state.state == "pushing")
        assert server.authorization == "Bearer TOKEN"
    finally:
        push.close()
        server.loop.call_soon_threadsafe(server.done.set)
        server.join(30)


def test_a_server_that_is_not_there_costs_nothing(session, monkeypatch):
    monkeypatch.setattr(pushing, "_FIRST_S", 0.05)
    states = []
    push = Push(session, f"rtmp://127.0.0.1:{free_port()}/live/KEY", states.append)
    wait_for(lambda: sum(state.state == "waiting" for state in states) >= 3)
    push.close()
    reasons = {state.reason for state in states if state.state == "waiting"}
    assert all("KEY" not in reason and reason for reason in reasons), reasons
    assert not session._viewers


def test_a_server_that_takes_nothing_is_given_up(session, monkeypatch):
    monkeypatch.setattr(pushing, "_ANSWER_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        states = []
        push = Push(session, f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/KEY", states.append)
        try:
            wait_for(lambda: any(state.state == "waiting" for state in states))
        finally:
            push.close()
    assert "did not answer" in next(state.reason for state in states if state.state == "waiting")


def test_it_ends_with_its_session(session):
    push = Push(session, f"rtmp://127.0.0.1:{free_port()}/live/KEY")
    session.close()
    wait_for(lambda: push.state.state == "closed")
    assert push.state.reason == "the session is closed"
    push.close()
