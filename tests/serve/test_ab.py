"""Two faces, one speech, over the network; and who is refused before anybody has to make room."""

import asyncio

import numpy as np
import pytest

from marotte.runtime.live.metrics import Metrics
from marotte.runtime.live.segment import to_int16
from marotte.runtime.serve.media import CONFIG, SOUND, unpack
from marotte.runtime.testing import speech_like

SPEECH = to_int16(speech_like(1.0)).tobytes()


async def sounds(media, until):
    """Return the sound of a media socket by tick, and the ticks of its pictures, until both have gone so far."""
    heard, seen = {}, []
    while not seen or seen[-1] < until or max(heard, default=0) < until:
        kind, tick, payload = unpack(await media.receive_bytes(timeout=30))
        if kind == SOUND:
            heard[tick] = payload
        elif kind != CONFIG:
            seen.append(tick)
    return heard, seen


def test_what_is_said_to_the_first_is_said_by_both_at_the_same_ticks(serving, tools, all_sound):
    async def work(client):
        first = await client.open()
        async with client.control(first) as control, client.media(first) as one:
            await control.send_json({"type": "speak", "turn": "a"})
            for _ in range(10):  # longer than all that follows takes on any machine
                await control.send_bytes(SPEECH * 30)
            await tools.heard(control, "started")
            second = await client.open(beside=first["id"], driver="viseme", variant=None, expressiveness=2)
            assert await tools.heard(control, "twin", open=True) == {
                "type": "twin",
                "id": second["id"],
                "open": True,
                "reason": "",
            }
            assert second["beside"] == first["id"] and second["state"] == "speaking"
            asked = {"driver": "viseme", "variant": None, "expressiveness": 2}
            assert second["settings"] == first["settings"] | asked
            async with client.control(second) as listening, client.media(second) as two:
                ready = await listening.receive_json()
                now = client.rooms.get(first["id"]).session._ticks
                (heard, seen), (heard_b, seen_b) = await asyncio.gather(
                    sounds(one, now + 30000), sounds(two, now + 30000)
                )
                await control.send_json({"type": "interrupt"})
                told, told_b = [await tools.heard(s, "finished", turn="a") for s in (control, listening)]
                assert told == told_b and told["reason"] == "interrupted" and told["position_s"] > 0.5
                for message in ({"type": "speak"}, {"type": "interrupt"}, {"type": "microphone", "on": True}):
                    await listening.send_json(message)
                    assert "speak to that one" in (await tools.heard(listening, "error"))["reason"]
            status, refused = await client.say(second, SPEECH)
            assert status == 409 and "speak to that one" in refused["error"]
            async with client.http.get(first["urls"]["self"]) as response:
                assert (await response.json())["twins"] == [second["id"]]
            await client.end(second)
            assert (await tools.heard(control, "twin", open=False))["reason"] == "its client ended it"
        both = set(heard) & set(heard_b)
        assert ready["type"] == "ready" and len(both) > 10 and all(heard[tick] == heard_b[tick] for tick in both)
        assert any(np.frombuffer(heard[tick], "<i2").any() for tick in both)
        assert set(seen) & set(seen_b) and all(tick % 1920 == 0 for tick in seen + seen_b)

    serving(work)


def test_what_cannot_stand_beside_another(serving):
    async def work(client):
        first = await client.open()
        second = await client.open(beside=first["id"])
        for asked, status, words in (
            ({"beside": "../../etc/passwd"}, 404, "no session"),
            ({"beside": 7}, 404, "no session"),
            ({"beside": second["id"]}, 409, "name the first"),
            ({"beside": first["id"], "size": 128}, 422, "size of two sessions side by side"),
            ({"beside": first["id"], "fps": 30}, 422, "fps of two sessions side by side"),
            ({"variant": "../live"}, 422, "no variant is called"),
            ({"beside": first["id"]}, 503, "the limit `sessions`"),
        ):
            async with client.http.post("/v1/sessions", json=asked) as response:
                assert response.status == status and words in (await response.json())["error"], asked
        await client.end(first)
        async with client.http.get(second["urls"]["self"]) as response:
            assert response.status == 404

    serving(work, limits={"sessions": 2})


def test_a_viewer_can_do_without_sound(serving):
    async def work(client):
        async with client.media(await client.open()) as media:
            await media.send_str("silent")
            pictures = 0
            # So many do not come without the sound between them to one that has both.
            while pictures < 20:
                kind, _, _ = unpack(await media.receive_bytes(timeout=30))
                pictures = 0 if kind == SOUND else pictures + 1

    serving(work)


def test_seconds_leave_no_memory(serving, tools):
    async def use(client, first):
        second = await client.open(beside=first["id"], driver="viseme")
        async with client.media(second) as media:
            await media.send_str("silent")
            await media.receive_bytes(timeout=30)
            await client.end(second)
        await tools.until(lambda: len(client.studio._sessions) == 1)

    async def work(client):
        first = await client.open()
        async with client.control(first) as control:
            await control.send_json({"type": "speak", "stream": True})
            for _ in range(2):
                await use(client, first)
            assert await tools.left_by(lambda: use(client, first)) < 10_000
            assert client.rooms.get(first["id"]).twins == [] and not client.studio.sessions[0].speaker._voices

    serving(work)


def test_nobody_makes_room_for_what_cannot_be(serving, tools):
    async def work(client):
        orphan = await client.open()
        await tools.until(lambda: client.rooms.get(orphan["id"]).alone_s > 0.1)
        for asked in ({"fps": "2_5"}, {"avatar": "demmo"}, {"size": 7}, {"driver": "artalk"}):
            async with client.http.post("/v1/sessions", json=asked) as response:
                assert response.status in (422, 503), asked
        client.studio.share = 1e-9  # of which no machine has enough
        async with client.http.post("/v1/sessions", json={}) as response:
            assert response.status == 503
        async with client.http.get(orphan["urls"]["self"]) as response:
            assert response.status == 200
        client.studio.share = 1e9
        await client.open()
        async with client.http.get(orphan["urls"]["self"]) as response:
            assert response.status == 404

    serving(work, limits={"sessions": 1, "orphan_s": 0.1})


def test_the_first_is_not_closed_to_make_room_for_its_second(serving, tools):
    async def work(client):
        first, other = await client.open(), await client.open()
        await tools.until(lambda: client.rooms.get(other["id"]).alone_s > 0.1)
        await client.open(beside=first["id"])
        for session, status in ((first, 200), (other, 404)):
            async with client.http.get(session["urls"]["self"]) as response:
                assert response.status == status

    serving(work, limits={"sessions": 2, "orphan_s": 0.1})


@pytest.mark.parametrize("fps", ["2_5", "٢٥", "²5", "2５", " 25", "25 ", "1e1", "+25", "25/1_0", "0x19", "", "nan"])
def test_a_frame_rate_is_written_in_plain_digits(fps):
    from marotte.errors import MarotteError
    from marotte.runtime.serve.asked import fps_of

    with pytest.raises(MarotteError, match="is not a number: 25, 30, 60 or 30000/1001") as caught:
        fps_of(fps)
    assert "\n" not in str(caught.value)


def test_each_push_has_a_state_of_its_own():
    whole = Metrics()
    one, two = Metrics(whole), Metrics(whole)
    one.level("push_state", 2, session="1", push="1", url='rtmp://host/"app')
    one.level("push_state", 3, session="1", push="2", url="srt://host")
    two.level("push_state", 1, session="2", push="1", url="srt://host")
    lines = whole.prometheus({"sessions_open": 2}).splitlines()
    assert lines.count("# TYPE marotte_push_state gauge") == 1
    assert r'marotte_push_state{push="1",session="1",url="rtmp://host/\"app"} 2' in lines
    assert 'marotte_push_state{push="2",session="1",url="srt://host"} 3' in lines
    assert 'marotte_push_state{push="1",session="2",url="srt://host"} 1' in lines
    assert "marotte_sessions_open 2" in lines
    for metrics, labels in ((one, {"session": "1", "push": "2", "url": "srt://host"}),):
        metrics.level("push_state", None, **labels)
    assert 'push="2"' not in whole.prometheus({})
