"""The session's life and the control socket."""

import asyncio
import shutil
import time
from dataclasses import replace
from fractions import Fraction

import aiohttp
import numpy as np
import pytest

from marotte.runtime.avatar import avatar_folders
from marotte.runtime.live.segment import to_int16
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.testing import speech_like

SETTINGS = LiveSettings(driver="acoustic", width=64, height=64, fps=Fraction(25))
SOUND = to_int16(speech_like(0.6)).tobytes()


@pytest.fixture
def reports(monkeypatch):
    """Metrics come more often."""
    monkeypatch.setattr("marotte.runtime.serve.rooms._REPORT_S", 0.1)


def test_a_turn_from_speak_to_finished(serving, tools, reports):
    async def work(client):
        session = await client.open(expressiveness=0.5)
        async with client.control(session) as control:
            ready = await tools.heard(control, "ready")
            assert ready["settings"]["size"] == [64, 64] and ready["settings"]["expressiveness"] == 0.5
            await control.send_json({"type": "speak", "turn": "a", "rate": 16000})
            await control.send_bytes(SOUND)
            await control.send_json({"type": "end"})
            started = await tools.heard(control, "started")
            assert started["turn"] == "a" and started["tick"] % 1920 == 0
            finished = await tools.heard(control, "finished")
            assert finished["reason"] == "end" and finished["position_s"] == pytest.approx(0.6, abs=0.001)
            metrics = await tools.heard(control, "metrics")
            assert metrics["counts"]["turns"] == 1 and metrics["state"] == "silent"
        await client.end(session)
        async with client.http.get(session["urls"]["self"]) as response:
            assert response.status == 404
        assert not client.studio.sessions and not len(client.rooms)

    serving(work)


def test_interruption_in_every_state(serving, tools, reports):
    async def work(client):
        session = await client.open()
        async with client.control(session) as control:
            await control.send_json({"type": "interrupt"})  # nothing to interrupt
            await control.send_json({"type": "speak", "turn": "before"})
            await control.send_json({"type": "interrupt"})  # before its first sound
            finished = await tools.heard(control, "finished")
            assert finished["turn"] == "before" and finished["position_s"] == 0 and finished["reason"] == "interrupted"
            await control.send_bytes(SOUND)  # late sound of it
            await control.send_json({"type": "speak", "turn": "during"})
            await control.send_bytes(SOUND * 50)
            await tools.heard(control, "started", turn="during")
            await control.send_json({"type": "interrupt"})
            finished = await tools.heard(control, "finished", turn="during")
            assert 0 < finished["position_s"] < 30 and finished["reason"] == "interrupted"
            metrics = await tools.heard(control, "metrics")
            assert metrics["unheard_samples"] == len(SOUND) // 2

    serving(work)


def test_settings_change_while_it_runs(serving, tools):
    async def work(client):
        session = await client.open(background="navy")
        async with client.control(session) as control:
            await control.send_json({"type": "set", "head_motion": 0.25})
            assert (await tools.heard(control, "settings"))["head_motion"] == 0.25
            async with client.http.patch(session["urls"]["self"], json={"background": "#ff0000"}) as response:
                assert (await response.json())["settings"]["background"] == "#ff0000"
            assert (await tools.heard(control, "settings"))["head_motion"] == 0.25
            for bad in ({"head_motion": 7}, {"background": "/etc/passwd"}, {"avatar": "demo"}, {"idle": "much"}):
                async with client.http.patch(session["urls"]["self"], json=bad) as response:
                    assert response.status == 422 and (await response.json())["error"]

    serving(work)


def test_what_means_nothing_is_said_and_then_ends_the_socket(serving, tools):
    async def work(client):
        session = await client.open()
        garbage = ["{", "[]", "7", '{"type": "sing"}', '{"type": []}', '{"type": "speak", "rate": NaN}']
        garbage += ['{"type": "speak", "rate": 5}', '{"type": "speak", "turn": ""}', '{"type": "end", "now": 1}']
        garbage += ['{"type": "set", "seed": 1}', '{"type": "microphone"}', "[" * 100_000]
        async with client.control(session) as control:
            for text in garbage:
                await control.send_str(text)
                assert (await tools.heard(control, "error"))["reason"]
            await control.send_bytes(b"odd")
            assert "int16" in (await tools.heard(control, "error"))["reason"]
            # It still works.
            await control.send_json({"type": "set", "expressiveness": 2})
            await tools.heard(control, "settings")
            for _ in range(20):
                await control.send_str("{")
            while (await control.receive(timeout=tools.patience_s)).type != aiohttp.WSMsgType.CLOSE:
                pass
        # The session is still there for another socket.
        async with client.control(session) as control:
            await tools.heard(control, "ready")

    serving(work)


def test_too_large_a_message_ends_the_socket_only(serving, tools):
    async def work(client):
        session = await client.open()
        async with client.control(session) as control:
            await tools.heard(control, "ready")
            await control.send_bytes(bytes(20_002))
            while (await control.receive(timeout=tools.patience_s)).type == aiohttp.WSMsgType.TEXT:
                pass
            assert control.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        async with client.control(session) as control:
            await tools.heard(control, "ready")

    serving(work, limits={"message_bytes": 20_000})


def test_a_flood_is_slowed_down_and_hurts_nobody(serving, tools):
    async def work(client):
        flooded, other = await client.open(), await client.open()
        room = client.rooms.get(flooded["id"])
        flood = await client.control(flooded)

        async def pour():
            while True:
                await flood.send_str('{"type": "set"}')
                await asyncio.sleep(0)

        pouring = asyncio.create_task(pour())
        async with client.control(other) as control:
            await control.send_json({"type": "speak", "turn": "b"})
            await control.send_bytes(SOUND)
            await control.send_json({"type": "end"})
            assert (await tools.heard(control, "finished"))["reason"] == "end"
        assert not room.closed.is_set() and room.session.speaker.state == "silent"
        flood._response.connection.transport.abort()
        await tools.until(lambda: not room._listeners)
        pouring.cancel()

    serving(work, limits={"messages": 50, "heartbeat_s": 1})


def test_a_server_that_stood_still_loses_nobody(serving, tools):
    async def work(client):
        async with client.control(await client.open()) as control:
            reading = asyncio.create_task(tools.heard(control, "settings"))
            await asyncio.sleep(0.1)
            time.sleep(0.7)  # longer than a client may be silent
            await asyncio.sleep(0.3)
            await control.send_json({"type": "set", "head_motion": 0.5})
            assert (await reading)["head_motion"] == 0.5

    serving(work, limits={"heartbeat_s": 0.2})


def test_a_sound_in_a_burst_is_taken_whole(serving, tools):
    async def work(client):
        session = await client.open()
        async with client.control(session) as control:
            await control.send_json({"type": "speak", "turn": "burst"})
            for _ in range(200):
                await control.send_bytes(bytes(64))
            await control.send_json({"type": "end"})
            finished = await tools.heard(control, "finished")
            assert finished["position_s"] == pytest.approx(200 * 32 / 16000, abs=0.001)

    serving(work, limits={"messages": 100, "heartbeat_s": 0.2})


def test_more_sound_than_may_wait_is_refused(serving, tools):
    async def work(client):
        session = await client.open()
        async with client.control(session) as control:
            await control.send_json({"type": "speak", "turn": "long"})
            for _ in range(8):
                await control.send_bytes(SOUND * 3)
            assert "turn_s" in (await tools.heard(control, "error"))["reason"]

    serving(work, limits={"turn_s": 2})


def test_a_session_outlives_its_socket_and_no_more_than_idle_s(serving, tools, monkeypatch):
    monkeypatch.setattr("marotte.runtime.live.studio._SWEEP_S", 0.1)

    async def work(client):
        session = await client.open()
        async with client.control(session) as control:
            await control.send_json({"type": "set", "expressiveness": 1.5})
            await tools.heard(control, "settings")
        async with client.http.get(session["urls"]["self"]) as response:
            assert (await response.json())["settings"]["expressiveness"] == 1.5
        async with client.control(session) as control:
            assert (await tools.heard(control, "ready"))["settings"]["expressiveness"] == 1.5
            client.limit(client.rooms.get(session["id"]).session, idle_s=0.1)
            closed = await tools.heard(control, "closed")
            assert "idle_s" in closed["reason"]
        await tools.until(lambda: not len(client.rooms))

    serving(work)


def test_there_is_room_for_so_many(serving, tools):
    async def work(client):
        session = await client.open()
        async with client.http.post("/v1/sessions", json={}) as response:
            assert response.status == 503 and "limit `sessions`" in (await response.json())["error"]
        async with client.control(session):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.control(session)
            assert refused.value.status == 503
        await client.end(session)
        await client.open()

    serving(work, limits={"sessions": 1, "viewers": 1})


def test_sessions_without_clients_make_room_the_oldest_first(serving, tools):
    async def work(client):
        closed_tab, other, used = await client.open(), await client.open(), await client.open()
        control = await client.control(used)
        async with client.control(closed_tab), client.http.post("/v1/sessions", json={}) as response:
            assert response.status == 503  # none has been alone for long enough
        await tools.until(lambda: client.rooms.get(closed_tab["id"]).alone_s > 0.1)
        client.studio.limits = replace(client.studio.limits, orphan_s=0.1)
        await client.open()
        for session, status in ((closed_tab, 200), (other, 404), (used, 200)):
            async with client.http.get(session["urls"]["self"]) as response:
                assert response.status == status
        async with client.http.get("/metrics") as response:
            assert "marotte_sessions_orphaned_total 1" in await response.text()
        await control.close()

    serving(work, limits={"sessions": 3, "orphan_s": 60})


def test_a_closed_tab_keeps_no_share_of_the_renderer(serving, tools):
    async def work(client):
        gone = await client.open()
        client.studio.share = client.studio.load * 1.1
        await tools.until(lambda: client.rooms.get(gone["id"]).alone_s > 0.1)
        await client.open()
        assert len(client.rooms) == len(client.studio.sessions) == 1
        async with client.http.get(gone["urls"]["self"]) as response:
            assert response.status == 404

    serving(work, limits={"orphan_s": 0.1})


def test_the_defaults_are_what_may_be_asked_for(serving, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(avatar_folders()["demo"], folder)
    about = (folder / "avatar.toml").read_text().replace('name = "demo"', 'name = "mine"')
    (folder / "avatar.toml").write_text(about)

    async def work(client):
        async with client.http.get("/v1/options") as response:
            options = await response.json()
        assert options["defaults"]["avatar"] == "mine" and "mine" in [each["name"] for each in options["avatars"]]
        assert str(tmp_path) not in str(options)
        session = await client.open(**options["defaults"])
        assert session["settings"]["avatar"] == "mine"
        for other in (str(folder), str(folder) + "/", "./mine", str(folder.parent)):
            async with client.http.post("/v1/sessions", json={"avatar": other}) as response:
                assert response.status == 422 and "no avatar is called" in (await response.json())["error"]
        assert (await client.open(avatar="demo"))["settings"]["avatar"] == "demo"

    serving(work, session=replace(SETTINGS, avatar=str(folder)))


def test_what_cannot_be_is_refused_in_one_line(serving):
    async def work(client):
        for asked, words in (
            ({"avatar": "demmo"}, "did you mean 'demo'"),
            ({"avatar": "../../etc"}, "no avatar is called"),
            ({"avatar": 7}, "no avatar"),
            ({"driver": "playback"}, "no driver is called"),
            ({"size": 100_000}, "sides are 64 to"),
            ({"size": [1.5, 2]}, "neither 512"),
            ({"size": "2048x2048"}, "pixels"),
            ({"fps": 240}, "more than live"),
            ({"fps": "1/0"}, "frame rate"),
            ({"idle": True}, "not a number"),
            ({"idle": int("1" * 400)}, "not between"),
            ({"seed": 0.5}, "whole number"),
            ({"size": "6_4"}, "neither 512"),
            ({"avatar": "\ud800"}, "no avatar"),
            ({"a\nb": 1}, "no setting of a session"),
            ({"flame": "/etc/passwd"}, "no setting of a session"),
            ({"background": "marotte.png"}, "neither a colour"),
        ):
            async with client.http.post("/v1/sessions", json=asked) as response:
                text = (await response.json())["error"]
                assert response.status == 422 and words in text and "\n" not in text, (asked, text)
        for body, kind, status in (
            (b"{", "application/json", 400),
            (b"[]", "application/json", 400),
            (b"{}", "text/plain", 415),
            (b" " * 300_000, "application/json", 413),
        ):
            async with client.http.post("/v1/sessions", data=body, headers={"Content-Type": kind}) as response:
                assert response.status == status and (await response.json())["error"]
        assert not client.studio.sessions

    serving(work)


def test_packets_in_any_pieces_are_one_voice(serving, tools):
    async def work(client):
        session = await client.open()
        async with client.control(session) as control:
            await control.send_json({"type": "speak", "turn": "a", "stream": True, "rate": 48000})
            # A tone: of a stream of which far too much waits, silence is left out.
            tone = to_int16(0.5 * np.sin(2 * np.pi * np.arange(960) / 96)).tobytes()
            for _ in range(25):
                await control.send_bytes(tone)
                await asyncio.sleep(0)
            await control.send_json({"type": "end"})
            assert (await tools.heard(control, "finished"))["position_s"] == pytest.approx(0.5, abs=0.01)

    serving(work)
