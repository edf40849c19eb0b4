"""AvatarOutput: what an agent pushes is heard and seen, what it takes back is not, and it learns how much was heard."""

import asyncio

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.live.bell import Bell
from marotte.runtime.live.output import AudioFrame, AvatarOutput, VideoFrame
from marotte.runtime.live.studio import Studio
from marotte.runtime.testing import speech_like


@pytest.fixture
def session(tools):
    studio = Studio(share=1e9)
    studio.start()
    yield studio.open(tools.settings)
    studio.close()


def test_an_utterance_is_heard_to_its_end(session, all_sound):
    played = []

    async def work():
        output = AvatarOutput(session)
        output.on_playback_finished(lambda seconds, interrupted: played.append((seconds, interrupted)))
        sound = speech_like(0.6)
        for at in range(0, len(sound), 320):
            await output.push_audio(sound[at : at + 320])
        output.flush()
        output.flush()
        frames = []
        async for frame in output.frames():
            frames.append(frame)
            if played and any(isinstance(each, VideoFrame) for each in frames):
                break
        output.close()
        return frames

    frames = asyncio.run(asyncio.wait_for(work(), 60))
    assert played == [(pytest.approx(0.6, abs=0.001), False)]
    sound = [frame for frame in frames if isinstance(frame, AudioFrame)]
    pictures = [frame for frame in frames if isinstance(frame, VideoFrame)]
    assert [f.pts for f in sound] == list(sound[0].pts + np.cumsum([0] + [len(f.samples) for f in sound])[:-1])
    assert any(np.abs(frame.samples).max() > 1000 for frame in sound)
    assert pictures[0].pixels.shape == (64, 64, 3) and all(frame.pts % 1920 == 0 for frame in pictures)


def test_what_is_taken_back_is_not_heard(session):
    played = []

    async def work():
        output = AvatarOutput(session)
        output.on_playback_finished(lambda seconds, interrupted: played.append((seconds, interrupted)))
        await output.push_audio(speech_like(4.0))
        pushing = [asyncio.create_task(output.push_audio(np.tile(speech_like(4.0), 3)))]
        pushing = [*pushing, asyncio.create_task(output.push_audio(speech_like(1.0)))]
        await asyncio.sleep(0)  # they begin
        while session.speaker.state != "speaking":
            await asyncio.sleep(0.01)
        output.clear_buffer()
        await asyncio.gather(*pushing)
        while not played:
            await asyncio.sleep(0.01)
        assert session.speaker.waiting_s == 0
        await output.push_audio(speech_like(0.2), 16000)
        with pytest.raises(MarotteError, match="flush between"):
            await output.push_audio(speech_like(0.2), 48000)
        session.close()
        with pytest.raises(MarotteError, match="is closed"):
            await output.push_audio(speech_like(0.2))
        assert not [frame async for frame in output.frames()]

    asyncio.run(asyncio.wait_for(work(), 60))
    assert played[0][1] and played[0][0] < 4 + 12


def test_a_bell_wakes_once_for_many_rings():
    async def work():
        bell, woken = Bell(), 0
        for _ in range(5):
            await asyncio.to_thread(bell.ring)
        await asyncio.wait_for(bell.wait(), 30)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bell.wait(), 0.05)
        for _ in range(100):
            ringing = asyncio.to_thread(bell.ring)
            await asyncio.gather(ringing, asyncio.wait_for(bell.wait(), 30))
            woken += 1
        return bell, woken

    bell, woken = asyncio.run(work())
    bell.ring()  # the loop is gone: nothing happens
    assert woken == 100
