"""A load generator that takes little of the machine: keep-alive connections, one request in flight on each."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import psycopg

from eventbus import encode_json
from tools.benchmarks.samples import order_body

CONNECTIONS = 16


class Client:
    """One connection to the web server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.reader, self.writer, self.head = reader, writer, head

    async def post(self, body: bytes) -> bytes:
        """POST it; returns the answer's body. Raises RuntimeError for anything but 201."""
        self.writer.write(self.head % len(body) + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
        answer = await self.reader.readexactly(length)
        if not head.startswith(b"http/1.1 201"):
            raise RuntimeError(f"{head.splitlines()[0].decode()}: {answer[:500].decode(errors='replace')}")
        return answer


@asynccontextmanager
async def clients(path: str, token: str) -> AsyncIterator[list[Client]]:
    """Open connections to the web server of this laboratory."""
    port = int(os.environ["PORT"])
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()
    opened = [Client(*await asyncio.open_connection("127.0.0.1", port), head) for _ in range(CONNECTIONS)]
    try:
        yield opened
    finally:
        for client in opened:
            client.writer.close()


async def flat_out(path: str, token: str, seconds: float) -> list[float]:
    """Place orders as fast as they are answered; returns the seconds that each took."""
    latencies = []

    async def go_on(client: Client, end: float) -> None:
        while (began := monotonic()) < end:
            await client.post(encode_json(order_body()))
            latencies.append(monotonic() - began)

    async with clients(path, token) as opened:
        end = monotonic() + seconds
        await asyncio.gather(*(go_on(client, end) for client in opened))
    return latencies


async def steadily(path: str, token: str, *, rate: int, seconds: float) -> list[float]:
    """Place orders at a steady rate; returns for each the seconds until its confirmation was committed.

    The database reports it: see `end_to_end.TELL`.
    """
    sent: dict[str, float] = {}
    confirmed: dict[str, float] = {}
    orders = int(rate * seconds)
    free: asyncio.Queue[Client] = asyncio.Queue()

    async def place(due: float) -> None:
        await asyncio.sleep(max(0, due - monotonic()))
        began = monotonic()
        client = await free.get()
        sent[json.loads(await client.post(encode_json(order_body())))["orderId"]] = began
        free.put_nowait(client)

    async def listen(listener: psycopg.AsyncConnection) -> None:
        async for told in listener.notifies(timeout=seconds + 60):
            confirmed[told.payload] = monotonic()
            if len(confirmed) == orders:
                return
        raise TimeoutError(f"{orders - len(confirmed)} of {orders} orders were not confirmed within a minute.")

    async with (
        clients(path, token) as opened,
        await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True) as listener,
    ):
        await listener.execute("LISTEN confirmed")
        for client in opened:
            free.put_nowait(client)
        began = monotonic()
        await asyncio.gather(listen(listener), *(place(began + number / rate) for number in range(orders)))
    return [confirmed[order_id] - began for order_id, began in sent.items()]
