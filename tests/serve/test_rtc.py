"""WebRTC, with aiortc as the browser: pictures that decode, sound that is the right one, a microphone that speaks."""

import asyncio
import re
from fractions import Fraction

import aioice
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame, CodecContext

from marotte.runtime.clock import TICK_RATE
from marotte.runtime.live.viewing import Sound
from marotte.runtime.serve.rtc import codec_of
from marotte.runtime.serve.rtc_tracks import PIECE, Cutter, OpusVoice, SoundTrack


@pytest.fixture(scope="module", autouse=True)
def _network():
    if not aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True):
        pytest.skip("no network interface but loopback: ICE has no address to offer")


class Microphone(MediaStreamTrack):
    """A tone, 20 ms at a time."""

    kind = "audio"

    def __init__(self, hertz):
        super().__init__()
        self._hertz, self._at = hertz, 0

    async def recv(self):
        await asyncio.sleep(0.019)
        time = (self._at + np.arange(960)) / TICK_RATE
        pcm = (12000 * np.sin(2 * np.pi * self._hertz * time)).astype(np.int16)
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = TICK_RATE, self._at, Fraction(1, TICK_RATE)
        self._at += 960
        return frame


class Browser:
    """A peer connection that keeps what it gets."""

    def __init__(self, codec="H264", microphone=None):
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pictures, self.sound, self.tasks = [], [], []
        self.connection.on("track", self._track)
        if microphone:
            self.connection.addTrack(microphone)
        else:
            self.connection.addTransceiver("audio", direction="recvonly")
        video = self.connection.addTransceiver("video", direction="recvonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        video.setCodecPreferences([each for each in codecs if each.mimeType == f"video/{codec}"])

    async def connect(self, client, session, change=lambda sdp: sdp):
        await self.connection.setLocalDescription(await self.connection.createOffer())
        offer = {"type": "offer", "sdp": change(self.connection.localDescription.sdp)}
        async with client.http.post(session["urls"]["offer"], json=offer) as response:
            answer = await response.json()
            assert response.status == 200, answer
        await self.connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        return answer

    def _track(self, track):
        self.tasks.append(asyncio.ensure_future(self._take(track)))

    async def _take(self, track):
        while True:
            frame = await track.recv()
            if track.kind == "video":
                self.pictures.append(frame)
                continue
            self.sound.append(frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0])

    async def close(self):
        await self.connection.close()
        for task in self.tasks:
            task.cancel()


def pitch(sound):
    """Hertz: the median of pieces of 50 ms, for where sound was late its parts do not join."""
    pieces = sound[: len(sound) // 2400 * 2400].reshape(-1, 2400) * np.hanning(2400)
    return np.median(np.abs(np.fft.rfft(pieces, 48000)).argmax(axis=1))


def loud(browser):
    sound = np.concatenate(browser.sound) if browser.sound else np.zeros(0)
    return sound[np.convolve(np.abs(sound), np.ones(480) / 480, "same") > 1500]


async def speak_tone(control, hertz, seconds):
    pcm = (12000 * np.sin(2 * np.pi * hertz * np.arange(round(16000 * seconds)) / 16000)).astype("<i2")
    await control.send_json({"type": "speak", "turn": "tone"})
    await control.send_bytes(pcm.tobytes())
    await control.send_json({"type": "end"})


def with_a_local_name(sdp):
    """Chromium's way: one more name, and no word about whether others follow."""
    local = "a=candidate:1 1 udp 2122260223 5d9b2a4c-aaaa.local 50000 typ host\r\na=ice-ufrag"
    return sdp.replace("a=end-of-candidates\r\n", "").replace("a=ice-ufrag", local, 1)


def with_local_names_only(sdp):
    """Firefox's way: names instead of addresses, and no others to come."""
    assert "a=end-of-candidates" in sdp
    return re.sub(r"(a=candidate:(?:\S+ ){4})\S+", r"\g<1>5d9b2a4c-aaaa.local", sdp)


@pytest.mark.parametrize(("codec", "hide"), [("H264", with_a_local_name), ("VP8", with_local_names_only)])
def test_a_browser_sees_and_hears(serving, tools, all_sound, codec, hide):
    async def work(client):
        session = await client.open(size=96)
        browser = Browser(codec)
        answer = await browser.connect(client, session, hide)
        assert answer["video"] == codec and not answer["microphone"]
        await tools.until(lambda: len(browser.pictures) > 5 and browser.sound)
        async with client.control(session) as control:
            await speak_tone(control, 600, 0.8)
            await tools.heard(control, "finished")
            await tools.until(lambda: len(loud(browser)) > 0.7 * 48000)
        assert abs(pitch(loud(browser)) - 600) < 8
        assert (browser.pictures[-1].width, browser.pictures[-1].height) == (96, 96)
        assert browser.pictures[-1].to_ndarray(format="rgb24").std() > 10
        room = client.rooms.get(session["id"])
        assert room.about()["viewers"] == 1
        await browser.close()
        await client.end(session)
        assert room.about()["viewers"] == 0

    serving(work)


def test_a_request_for_a_key_frame_reaches_the_encoder(serving, tools):
    async def work(client):
        session = await client.open()
        browser = Browser()
        await browser.connect(client, session)
        await tools.until(lambda: len(browser.pictures) > 3)
        keys, encoder = [], client.rooms.get(session["id"]).session.encoder
        encode = encoder.encode
        encoder.encode = lambda pixels, tick, *, key, corner: keys.append(key) or encode(pixels, tick, key=key)
        # What a browser does that lost a picture; aiortc does it where packets of one are missing.
        (receiver,) = [each for each in browser.connection.getReceivers() if each.track.kind == "video"]
        (ssrc,) = [s.ssrc for s in (await receiver.getStats()).values() if s.type == "inbound-rtp"]
        await receiver._send_rtcp_pli(ssrc)
        await tools.until(lambda: any(keys))
        await browser.close()

    serving(work)


def test_the_microphone_speaks_while_it_is_on(serving, tools):
    async def work(client):
        session = await client.open()
        browser = Browser(microphone=Microphone(500))
        answer = await browser.connect(client, session)
        assert answer["microphone"]
        async with client.control(session) as control:
            await tools.until(lambda: len(browser.sound) > 20)
            assert len(loud(browser)) == 0
            await control.send_json({"type": "microphone", "on": True})
            assert (await tools.heard(control, "microphone"))["on"]
            await tools.heard(control, "started")
            await tools.until(lambda: len(loud(browser)) > 24000)
            assert abs(pitch(loud(browser)) - 500) < 8
            await control.send_json({"type": "interrupt"})
            assert not (await tools.heard(control, "microphone"))["on"]
            assert (await tools.heard(control, "finished"))["position_s"] > 0.3
            # What was on its way still comes, then it is silent.
            await tools.until(lambda: np.abs(np.concatenate(browser.sound[-25:])).max() < 1500)
        await browser.close()

    serving(work)


def test_offers_that_are_none(serving):
    async def work(client):
        session = await client.open()
        good = Browser()
        await good.connection.setLocalDescription(await good.connection.createOffer())
        sdp = good.connection.localDescription.sdp
        for asked in (
            {},
            {"type": "answer", "sdp": sdp},
            {"type": "offer", "sdp": 7},
            {"type": "offer", "sdp": "v=0\r\n"},
            {"type": "offer", "sdp": "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"},
            {"type": "offer", "sdp": sdp.replace("ice-pwd", "ice-pw")},
            {"type": "offer", "sdp": sdp.replace("fingerprint", "finger")},
            {"type": "offer", "sdp": "x" * 200_000},
            {"type": "offer", "sdp": sdp.replace("a=mid:0", "a=mid:1")},
            {"type": "offer", "sdp": sdp.replace("a=mid:0", "a=mid:7")},
            {"type": "offer", "sdp": sdp.replace("IP4", "IP9")},
            {"type": "offer", "sdp": sdp.replace("a=setup:actpass", "a=setup:nonsense")},
            {"type": "offer", "sdp": sdp + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 20},
        ):
            async with client.http.post(session["urls"]["offer"], json=asked) as response:
                text = (await response.json()).get("error", f"answered: {str(asked)[-60:]!r}")
                assert response.status == 422 and "\n" not in text, (asked, text)
        await good.close()
        assert client.rooms.get(session["id"]).about()["viewers"] == 0

    serving(work)


def test_what_does_not_connect_in_time_is_given_up(serving, tools):
    async def work(client):
        session = await client.open()
        room, browser, viewers = client.rooms.get(session["id"]), Browser(), []
        client.limit(room, connect_s=0.2)
        leave = room.exit
        room.exit = lambda key: viewers.append(room.about()["viewers"]) or leave(key)
        await browser.connection.setLocalDescription(await browser.connection.createOffer())
        offer = {"type": "offer", "sdp": browser.connection.localDescription.sdp}
        async with client.http.post(session["urls"]["offer"], json=offer):
            pass  # it may be given up before it is answered
        await browser.close()
        await tools.until(lambda: viewers and room.about()["viewers"] == 0)
        assert viewers == [1]

    serving(work)


def test_sound_that_is_not_opus_is_heard_as_well(serving, tools):
    async def work(client):
        session = await client.open(size=96)
        browser = Browser()
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        sound = next(each for each in browser.connection.getTransceivers() if each.kind == "audio")
        sound.setCodecPreferences([each for each in codecs if each.mimeType == "audio/PCMU"])
        await browser.connect(client, session)
        await tools.until(lambda: browser.sound)
        await browser.close()

    serving(work)


def test_opus_carries_the_ticks_of_its_pieces():
    voice, decoder = OpusVoice(), CodecContext.create("libopus", "r")
    tone = (9000 * np.sin(2 * np.pi * 600 * np.arange(50 * PIECE) / TICK_RATE)).astype(np.int16).reshape(50, PIECE)
    ticks = [PIECE * (n if n < 20 else n + 7) + 11 for n in range(50)]  # with a gap, which is none to the encoder
    packets = [voice.packet(Sound(tick, pcm)) for tick, pcm in zip(ticks, tone, strict=True)]
    assert [packet.pts for packet in packets] == ticks
    heard = np.concatenate([frame.to_ndarray()[0] for packet in packets for frame in decoder.decode(packet)])
    assert abs(pitch(heard.reshape(-1, 2)[PIECE:, 0]) - 600) < 8


def test_sound_is_cut_on_its_own_ticks():
    cutter, pieces = Cutter(), []

    def feed(tick, pcm):
        cutter.feed(Sound(tick, pcm))
        while (piece := cutter.cut()) is not None:
            pieces.append(piece)

    sound = np.arange(1, 8001, dtype=np.int16)
    for at in range(0, 8000, 800):
        feed(4800 + at, sound[at : at + 800])
    assert [piece.tick for piece in pieces] == [4800 + PIECE * i for i in range(8)]
    assert np.array_equal(np.concatenate([piece.pcm for piece in pieces]), sound[: 8 * PIECE])
    pieces.clear()
    feed(4800 + 8000 + 480, sound[:800])  # 10 ms are missing
    assert pieces[0].tick == 4800 + 8 * PIECE and np.array_equal(pieces[0].pcm[320:800], np.zeros(480, np.int16))
    pieces.clear()
    feed(10**6, sound[:960])
    assert pieces[0].tick == 10**6 and np.array_equal(pieces[0].pcm, sound[:960])


def test_the_codec_of_an_answer():
    media = "m=audio 9 X 111\r\na=rtpmap:111 opus/48000/2\r\nm=video 9 X 98 97\r\na=rtpmap:97 VP8/90000\r\n"
    assert codec_of(media + "a=rtpmap:98 H264/90000\r\n") == "H264" and codec_of(media, "audio") == "opus"
    assert codec_of("m=audio 9 X 111\r\n") is None and codec_of("m=video 0 X 98\r\n") is None


class _Session:
    """A session's clock, where a frame's sound comes when the frame begins. Sleeping lets it run."""

    def __init__(self, frames, stalls):
        self.now, self._frames, self._stalls, self._n = 100.0, frames, stalls, 0
        self.sent = []

    def sound(self):
        ready = []
        while (tick := self._n * 1600) <= self._frames * 1600 and self._due() <= self.now:
            ready.append(Sound(tick, np.full(1600, self._n, np.int16)))
            self._n += 1
        return ready

    def _due(self):
        return max([100 + self._n / 30] + [end for begin, end in self._stalls if begin <= 100 + self._n / 30 < end])

    def time_of(self, tick):
        return 100 + tick / TICK_RATE

    async def sleep(self, seconds):
        self.now += seconds

    async def wait(self):
        self.now = self._due()


def test_sound_is_sent_evenly_and_catches_up_after_a_stall(monkeypatch):
    async def send(session):
        track = SoundTrack(session, session, lambda: session.now, session.time_of)
        for _ in range(100):
            frame = await track.recv()
            assert frame.pts == len(session.sent) * PIECE and frame.samples == PIECE
            session.sent.append(session.now)
        return np.array(session.sent) - 100 - np.arange(100) * PIECE / TICK_RATE

    even = _Session(90, [])
    monkeypatch.setattr("marotte.runtime.serve.rtc_tracks.asyncio.sleep", even.sleep)
    late = asyncio.run(send(even))
    assert np.ptp(late) < 1e-6 and 0.02 <= late[0] <= 0.04
    stalled = _Session(90, [(100.6, 100.8)])
    monkeypatch.setattr("marotte.runtime.serve.rtc_tracks.asyncio.sleep", stalled.sleep)
    after = asyncio.run(send(stalled))
    # What the stall held back goes out when it ends, and nothing that comes later is behind for it.
    assert 0.1 < np.max(after) < 0.2 and np.ptp(after[after < late[0] + 1e-6]) < 1e-6
    assert np.all(after[40:] < late[0] + 1e-6)
