"""A WebSocket server that sends back what it gets. Arguments: certificate, key. Prints its ports as JSON."""
import asyncio
import json
import signal
import ssl
import sys

import websockets


async def echo(ws, *_):
    async for message in ws:
        await ws.send(message)


def options():
    return {"max_size": None, "subprotocols": ["chat.v2"], "compression": "deflate"}


async def main(cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with websockets.serve(echo, "127.0.0.1", 0, **options()) as plain:
        async with websockets.serve(echo, "127.0.0.1", 0, ssl=context, **options()) as secure:
            ports = {name: server.sockets[0].getsockname()[1] for name, server in (("plain", plain), ("secure", secure))}
            print(json.dumps(ports), flush=True)
            await stopped.wait()


asyncio.run(main(*sys.argv[1:]))
