"""A WebSocket client behind a proxy that sends one message, wants it back, and leaves. Arguments: library, URL, CA, proxy's URL. Prints JSON."""

import asyncio
import json
import ssl
import sys
from urllib.parse import urlsplit

library, url, ca, proxy = sys.argv[1:]


async def with_aiohttp():
    import aiohttp

    context = ssl.create_default_context(cafile=ca) if url.startswith("wss:") else None
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url.replace("ws", "http", 1), proxy=proxy, ssl=context, protocols=["chat.v2"]) as ws:
            await ws.send_str("hello")
            echo = await ws.receive_str()
            await ws.close(code=1000)
            return {"echo": echo, "code": ws.close_code}


def with_websocket_client():
    import websocket

    p = urlsplit(proxy)
    auth = (p.username, p.password) if p.username else None
    ws = websocket.create_connection(
        url, http_proxy_host=p.hostname, http_proxy_port=p.port, http_proxy_auth=auth, proxy_type="http",
        http_no_proxy=["nowhere"], sslopt={"ca_certs": ca}, subprotocols=["chat.v2"], timeout=10,
    )
    ws.send("hello")
    echo = ws.recv()
    ws.close(status=1000)
    return {"echo": echo, "code": 1000}


async def with_websockets():
    """The version that Debian has knows no proxies: it is given a socket that is through one already."""
    import socks
    import websockets

    p, to = urlsplit(proxy), urlsplit(url)
    sock = socks.socksocket()
    kind = socks.HTTP if p.scheme == "http" else socks.SOCKS5
    sock.set_proxy(kind, p.hostname, p.port, True, p.username, p.password)
    sock.settimeout(10)
    sock.connect((to.hostname, to.port))
    sock.settimeout(0)
    secure = {"ssl": ssl.create_default_context(cafile=ca), "server_hostname": to.hostname} if to.scheme == "wss" else {}
    async with websockets.connect(url, sock=sock, **secure, subprotocols=["chat.v2"]) as ws:
        await ws.send("hello")
        echo = await ws.recv()
    return {"echo": echo, "code": ws.close_code}


seen = {
    "aiohttp": lambda: asyncio.run(with_aiohttp()),
    "websocket-client": with_websocket_client,
    "websockets": lambda: asyncio.run(with_websockets()),
}[library]()
print(json.dumps(seen), flush=True)
