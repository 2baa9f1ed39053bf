"""The network between the processes and a server, which can be cut: a TCP proxy of its own for each process.

In a cut network nothing arrives and nobody hears of an end, as when a cable is pulled; what was sent meanwhile arrives
when it is restored, also from those who have long given up. One that swallows is the same, but what was sent meanwhile
is lost for ever, though it was acknowledged.
"""

import asyncio
from contextlib import closing, suppress
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Thread

CHUNK = 65_536


@dataclass
class Link:
    """The way of one process to the server."""

    port: int = 0
    passes: asyncio.Event = field(default_factory=asyncio.Event)
    swallows: bool = False


class Network(Thread):
    """Links by the name of the process. Its methods are for other threads."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name="network", daemon=True)
        self.host, self.port = host, port
        self.links: dict[str, Link] = {}
        self._servers: list[asyncio.Server] = []
        self._carrying: set[asyncio.Task[None]] = set()
        self._is_up = Flag()

    def run(self) -> None:
        asyncio.run(self._be())

    async def _be(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._is_up.set()
        await self._over.wait()
        for server in self._servers:
            server.close()
        for carrying in self._carrying:
            carrying.cancel()
        await asyncio.gather(*self._carrying)

    def open(self) -> None:
        self.start()
        self._is_up.wait()

    def close(self) -> None:
        """End every connection."""
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(10)

    def link(self, name: str) -> int:
        """The port by which this process reaches the server."""
        return asyncio.run_coroutine_threadsafe(self._link(name), self._loop).result(10)

    def cut(self, name: str) -> None:
        self._loop.call_soon_threadsafe(self.links[name].passes.clear)

    def swallow(self, name: str) -> None:
        self.links[name].swallows = True
        self.cut(name)

    def restore(self, name: str) -> None:
        self._loop.call_soon_threadsafe(self._restore, self.links[name])

    @staticmethod
    def _restore(link: Link) -> None:
        link.swallows = False
        link.passes.set()

    async def _link(self, name: str) -> int:
        if name not in self.links:
            link = Link()
            link.passes.set()
            server = await asyncio.start_server(lambda reader, writer: self._begin(link, reader, writer), "127.0.0.1")
            self._servers.append(server)
            link.port = server.sockets[0].getsockname()[1]
            self.links[name] = link
        return self.links[name].port

    def _begin(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying = asyncio.get_running_loop().create_task(self._carry(link, reader, writer))
        self._carrying.add(carrying)
        carrying.add_done_callback(self._carrying.discard)

    async def _carry(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.CancelledError):
            await link.passes.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                return  # there is no server now
            with closing(far_writer):
                await asyncio.gather(_pump(link, reader, far_writer), _pump(link, far_reader, writer))


async def _pump(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):  # it broke instead of ending: an end all the same
            while data := await reader.read(CHUNK):
                if link.swallows:
                    continue
                await link.passes.wait()
                writer.write(data)
                await writer.drain()
        await link.passes.wait()
    finally:
        writer.close()
