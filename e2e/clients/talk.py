"""A WebSocket client that sends messages, wants each back, and leaves. Arguments: URL, CA, sizes as JSON. Prints what it saw as JSON."""
import asyncio
import json
import ssl
import sys

import websockets


def messages(sizes):
    for size in sizes:
        yield "ä" * (size // 2) + "x" * (size % 2)  # so many bytes in UTF-8
        yield bytes(n * n % 251 for n in range(size))


async def main(url, ca, sizes):
    context = ssl.create_default_context(cafile=ca) if url.startswith("wss") else None
    seen = {"sent": 0, "received": 0}
    async with websockets.connect(url, ssl=context, subprotocols=["chat.v2"], compression="deflate", max_size=None) as ws:
        for message in messages(json.loads(sizes)):
            await ws.send(message)
            seen["sent"] += 1
            if await ws.recv() != message:
                raise SystemExit("another message came back")
            seen["received"] += 1
        await asyncio.wait_for(await ws.ping(b"are you there"), 10)
        seen["subprotocol"] = ws.subprotocol
        seen["extensions"] = ws.response_headers.get("Sec-WebSocket-Extensions", "")
    seen["code"] = ws.close_code
    print(json.dumps(seen), flush=True)


asyncio.run(main(*sys.argv[1:]))
