"""Sessions that come and go leave nothing: memory, files, threads, tasks."""

import asyncio
import os
import threading

import aioice
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from marotte.runtime.live.segment import to_int16
from marotte.runtime.testing import speech_like

SOUND = to_int16(speech_like(0.1)).tobytes()


def open_files():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc/self/fd to count open files by")
    return len(os.listdir("/proc/self/fd"))


async def use(client, tools):
    """Open a session, control it, watch it, and close it."""
    session = await client.open()
    async with client.control(session) as control, client.media(session) as media:
        await control.send_json({"type": "speak", "turn": "a"})
        await control.send_bytes(SOUND)
        await tools.heard(control, "started")
        await media.receive_bytes(timeout=30)
        await client.end(session)
        await tools.heard(control, "closed")
    await tools.until(lambda: not client.studio._sessions)


def test_sessions_leave_no_memory(serving, tools):
    async def work(client):
        for _ in range(2):
            await use(client, tools)
        files, threads, tasks = open_files(), threading.active_count(), len(asyncio.all_tasks())
        assert await tools.left_by(lambda: use(client, tools)) < 10_000
        await tools.until(lambda: open_files() <= files + 1 and threading.active_count() <= threads)
        await tools.until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert not client.studio._sessions and not len(client.rooms)

    serving(work)


def test_browsers_leave_no_memory(serving, tools):
    if not aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True):
        pytest.skip("no network interface but loopback: ICE has no address to offer")

    async def browse(client):
        session = await client.open()
        browser = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        browser.addTransceiver("audio", direction="recvonly")
        browser.addTransceiver("video", direction="recvonly")
        await browser.setLocalDescription(await browser.createOffer())
        offer = {"type": "offer", "sdp": browser.localDescription.sdp}
        async with client.http.post(session["urls"]["offer"], json=offer) as response:
            answer = await response.json()
        await browser.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        await tools.until(lambda: browser.connectionState == "connected")
        await client.end(session)
        await browser.close()
        await tools.until(lambda: not client.studio._sessions)

    async def work(client):
        for _ in range(2):
            await browse(client)
        files, tasks = open_files(), len(asyncio.all_tasks())
        assert await tools.left_by(lambda: browse(client)) < 10_000
        await tools.until(lambda: open_files() <= files + 1 and len(asyncio.all_tasks()) <= tasks + 1)

    serving(work)
