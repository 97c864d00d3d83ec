"""A WebSocket client that pings and stays until it is closed. Arguments: URL, seconds between pings. Prints when it is open, as JSON."""
import asyncio
import json
import sys

import websockets


async def main(url, interval):
    async with websockets.connect(url, ping_interval=float(interval), ping_timeout=20) as ws:
        print(json.dumps({"open": True}), flush=True)
        await ws.wait_closed()


asyncio.run(main(*sys.argv[1:]))
