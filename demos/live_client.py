"""Let a live server speak a wav, packet by packet, and print what happens: python demos/live_client.py speech.wav [URL]

Start the server with `marotte live`. Needs aiohttp.
"""

import asyncio
import sys
import wave

import aiohttp


async def main(path: str, server: str = "http://127.0.0.1:8765") -> None:
    """Open a session, speak, wait until it was heard, and close it."""
    async with aiohttp.ClientSession(server) as http:
        async with http.post("/v1/sessions", json={"size": 256}) as answer:
            session = await answer.json()
            print(answer.status, session)
            answer.raise_for_status()
        async with http.ws_connect(session["urls"]["control"]) as control:
            with wave.open(path) as sound:  # 16-bit mono of 8000 to 48000 samples a second
                await control.send_json({"type": "speak", "turn": "hello", "rate": sound.getframerate()})
                while packet := sound.readframes(sound.getframerate() // 50):
                    await control.send_bytes(packet)
                    await asyncio.sleep(0.018)  # as fast as somebody speaks
                await control.send_json({"type": "end"})
            async for message in control:
                print(message.data)
                if '"finished"' in message.data:
                    break
        await http.delete(session["urls"]["self"])


asyncio.run(main(*sys.argv[1:]))
