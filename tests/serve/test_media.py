"""Sound and picture over the media socket, and sound files that are spoken."""

import asyncio
import io
import json
import socket
import wave

import aiohttp
import av
import numpy as np
import pytest
import soundfile

from marotte.runtime.live.encode import H264Encoder
from marotte.runtime.live.segment import to_int16
from marotte.runtime.serve.media import CONFIG, DELTA, KEY, SOUND, codec_of, unpack
from marotte.runtime.serve.uploads import is_sound


def tone(hertz, seconds, rate=16000):
    return to_int16(0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32))


def wav(sound, rate=16000):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.astype("<i2").tobytes())
    return out.getvalue()


def pitch(sound):
    """Return the strongest frequency of sound at 48 kHz."""
    return np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound))))) * 48000 / len(sound)


def loud(pieces):
    """Return the part of sound that can be heard, and check that no tick is missing in it.

    Frames of silence are left out: on a busy machine a turn waits for its sound.
    """
    ticks = [tick for tick, _ in pieces]
    assert ticks == list(ticks[0] + np.cumsum([0] + [len(pcm) for _, pcm in pieces])[:-1])
    sound = np.concatenate([pcm for _, pcm in pieces if pcm.any()] or [np.zeros(0, np.int16)])
    where = np.flatnonzero(np.abs(sound) > 3000)
    return sound[where[0] : where[-1] + 1] if len(where) else sound[:0]


async def watch(socket, pictures, seconds=0.0):
    """Return sound [(tick, pcm)], packets and configuration, until so many pictures, and so much that is no silence."""
    sound, packets, config = [], [], None
    async with socket as media:
        while len(packets) < pictures or sum(len(pcm) for _, pcm in sound if pcm.any()) < seconds * 48000:
            kind, tick, payload = unpack(await media.receive_bytes(timeout=30))
            if kind == CONFIG:
                config = json.loads(payload)
            elif kind == SOUND:
                sound.append((tick, np.frombuffer(payload, "<i2")))
            else:
                packets.append((kind, tick, payload))
    return sound, packets, config


def test_two_sessions_have_their_own_voice_and_face(serving, tools, all_sound):
    async def work(client):
        sessions = [await client.open(), await client.open(background="#ff0000")]
        watching = [asyncio.create_task(watch(client.media(session), 26, 0.8)) for session in sessions]
        await tools.until(lambda: all(client.rooms.get(session["id"]).about()["viewers"] for session in sessions))
        for session, hertz in zip(sessions, (440, 1000), strict=True):
            status, said = await client.say(session, wav(tone(hertz, 0.8)))
            assert status == 202 and said["seconds"] == 0.8
        red = []
        for task, hertz in zip(watching, (440, 1000), strict=True):
            sound, packets, config = await task
            heard = loud(sound)
            assert len(heard) / 48000 == pytest.approx(0.8, abs=0.02) and abs(pitch(heard) - hertz) < 5
            assert config["codec"].startswith("avc1.42") and (config["width"], config["sample_rate"]) == (64, 48000)
            assert packets[0][0] == KEY and {kind for kind, _, _ in packets} == {KEY, DELTA}
            ticks = [tick for _, tick, _ in packets]
            assert ticks == sorted(ticks) and all(tick % 1920 == 0 for tick in ticks)
            decoder = av.CodecContext.create("h264", "r")
            pictures = [f for _, _, p in packets for f in decoder.decode(av.Packet(p))]
            assert len(pictures) == len(packets)
            red.append(pictures[-1].to_ndarray(format="rgb24")[:4].mean(axis=(0, 1)))
        assert red[1][0] > 200 > 60 > red[1][1] and red[0][1] > 150

    serving(work)


def test_sound_files_of_many_kinds(serving, tools):
    def data(form):
        sound = tone(300, 0.3, 22050)
        out = io.BytesIO()
        if form == "m4a":
            with av.open(out, "w", format="mp4") as container:
                stream = container.add_stream("aac", rate=22050, layout="mono")
                frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
                frame.sample_rate = 22050
                for packet in [*stream.encode(frame), *stream.encode(None)]:
                    container.mux(packet)
        else:
            soundfile.write(out, sound, 22050, format=form)
        return out.getvalue()

    async def work(client):
        session = await client.open()
        async with client.control(session) as control:
            for form in ("WAV", "FLAC", "MP3", "OGG", "m4a"):
                status, said = await client.say(session, data(form))
                assert status == 202, form
                finished = await tools.heard(control, "finished", turn=said["turn"])
                assert finished["reason"] == "end" and finished["position_s"] == pytest.approx(0.3, abs=0.12), form
        await tools.until(lambda: client.rooms.get(session["id"]).uploads == 0)

    serving(work)


def test_what_is_no_sound_is_refused_and_leaves_no_file(serving, tools, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def work(client):
        session = await client.open()
        for data, status in (
            (b"", 415),
            (b"\x00" * 1000, 415),
            (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415),
            (b"ffconcat version 1.0\nfile /etc/passwd\n", 415),
            (b"RIFF" + b"\xff" * 500, 415),
            (b"ID3" + bytes(500), 415),
            (b"OggS" + bytes(500), 415),
            (wav(np.zeros(0, np.int16)), 415),
            (wav(tone(300, 3.0)), 413),
            (wav(tone(300, 2.9)) + bytes(200_000), 413),
        ):
            got, answer = await client.say(session, data)
            assert got == status and str(tmp_path) not in answer["error"], (data[:20], answer)

        async def chunked():
            yield b"RIFF"
            yield bytes(200_001)

        async with client.http.post(session["urls"]["say"], data=chunked()) as response:
            assert response.status == 413
        assert client.rooms.get(session["id"]).uploads == 0 and not list(tmp_path.iterdir())

    serving(work, limits={"upload_bytes": 200_000, "turn_s": 2.5})


def test_files_queue_up_and_an_interruption_forgets_them(serving, tools, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def work(client):
        session = await client.open()
        async with client.control(session) as control:
            turns = [(await client.say(session, wav(tone(300, 8.0))))[1]["turn"] for _ in range(2)]
            status, answer = await client.say(session, wav(tone(300, 1.0)))
            assert status == 429 and "uploads" in answer["error"]
            await tools.heard(control, "started", turn=turns[0])
            await control.send_json({"type": "interrupt"})
            over = [await tools.heard(control, "finished", reason="interrupted") for _ in turns]
            assert sorted(message["turn"] for message in over) == turns
            await tools.until(lambda: not list(tmp_path.iterdir()))
            status, said = await client.say(session, wav(tone(300, 0.2)))
            assert (await tools.heard(control, "started"))["turn"] == said["turn"]

    serving(work, limits={"uploads": 2})


def test_a_file_that_is_on_its_way_is_not_said_after_an_interruption(serving, tools):
    async def work(client):
        session = await client.open()
        room, sent = client.rooms.get(session["id"]), asyncio.Event()
        speaker = room.session.speaker
        before = speaker.generation

        async def slowly():
            data = wav(tone(300, 1.0))
            yield data[:1000]
            await sent.wait()
            yield data[1000:]

        async with client.control(session) as control:
            saying = asyncio.create_task(client.say(session, slowly()))
            await tools.until(lambda: room.uploads == 1)
            await control.send_json({"type": "interrupt"})
            await tools.until(lambda: speaker.generation == before + 1)
            sent.set()
            status, answer = await saying
            assert status == 409 and "interrupted" in answer["error"]
            status, said = await client.say(session, wav(tone(300, 0.2)))
            assert (await tools.heard(control, "started"))["turn"] == said["turn"]

    serving(work)


def test_a_viewer_that_does_not_read_is_let_go(serving, tools, all_sound):
    async def work(client):
        session = await client.open(size=256)
        room = client.rooms.get(session["id"])
        client.limit(room, heartbeat_s=0.5)
        plain = socket.create_connection(("127.0.0.1", client.listening.port))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.sendall(
            f"GET {session['urls']['media']} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        await tools.until(lambda: room.about()["viewers"] == 1)
        client.limit(room, heartbeat_s=300)  # of the one that reads, however long this process stands still
        sound, packets, _ = await watch(client.media(session), 12)
        assert packets and loud(sound).size == 0
        await tools.until(lambda: room.about()["viewers"] == 0)
        plain.close()

    serving(work)


def test_a_viewer_that_vanishes_and_comes_back_gets_a_key_frame(serving, tools):
    async def work(client):
        session = await client.open()
        for _ in range(3):
            media = await client.media(session)
            await media.receive_bytes(timeout=30)
            media._response.connection.transport.abort()
            await media.close()
        await tools.until(lambda: client.rooms.get(session["id"]).about()["viewers"] == 0)
        _, packets, config = await watch(client.media(session), 1)
        assert packets[0][0] == KEY and config["codec"] == codec_of(packets[0][2])

    serving(work)


def test_a_request_for_a_key_frame_is_heard(serving):
    async def work(client):
        session = await client.open()
        encoder, asked = H264Encoder.encode, []

        def encode(self, pixels, tick, *, key, corner):
            if key:
                asked.append(tick)
            return encoder(self, pixels, tick, key=key, corner=corner)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(H264Encoder, "encode", encode)
            async with client.media(session) as media:
                keys, wanted = [], 0
                while len(keys) < 3:
                    kind, tick, _ = unpack(await media.receive_bytes(timeout=30))
                    if kind == KEY and tick in asked:
                        keys.append(tick)
                    if kind == DELTA and wanted < len(keys):
                        await media.send_str("key")
                        wanted += 1

    serving(work)


def test_a_plain_request_is_no_socket(serving):
    async def work(client):
        session = await client.open()
        for name in ("control", "media"):
            async with client.http.get(session["urls"][name]) as response:
                assert response.status == 426
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await client.http.ws_connect(session["urls"][name].replace(session["id"], "0" * 32))

    serving(work)


def test_sound_is_told_by_its_beginning():
    assert is_sound(wav(tone(300, 0.1))) and is_sound(b"\xff\xfb\x90\x00") and is_sound(b"\x00\x00\x00\x20ftypM4A ")
    assert not is_sound(b"") and not is_sound(b"#EXTM3U") and not is_sound(b"<MPD>") and not is_sound(b"v=0\r\no=-")
    assert codec_of(b"\x00\x00\x00\x01\x67\x42\xc0\x1e") == "avc1.42c01e"
