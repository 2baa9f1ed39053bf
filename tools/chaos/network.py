"""The network between the processes and the servers, which can be cut or lose bytes: a TCP proxy of its own for each
process and server.

In a cut network nothing arrives and nobody hears of an end, as when a cable is pulled; what was sent meanwhile arrives
when it is restored, also from those who have long given up. One that swallows takes every byte and says so, and passes
none on: a connection that lost some carries nothing any more, and is silent until somebody ends it.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Thread

CHUNK = 65_536


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Link:
    """The way of one process to one server."""

    host: str
    far_port: int
    port: int = 0
    #: Set unless it is cut, and unless it swallows.
    passes: asyncio.Event = field(default_factory=_set)
    keeps: asyncio.Event = field(default_factory=_set)
    #: What is said in the server's place to what the process says; nothing for what goes on to the server.
    interrupt: Callable[[bytes], bytes] | None = None


@dataclass
class Way:
    """A connection over a link."""

    link: Link
    is_lost: bool = False


class Network(Thread):
    """Links by name. Its methods are for other threads."""

    def __init__(self) -> None:
        super().__init__(name="network", daemon=True)
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

    def link(self, name: str, host: str, port: int) -> int:
        """The port that leads to this server over the link of that name."""
        return asyncio.run_coroutine_threadsafe(self._link(name, host, port), self._loop).result(10)

    def cut(self, name: str) -> None:
        self._loop.call_soon_threadsafe(self.links[name].passes.clear)

    def restore(self, name: str) -> None:
        self._loop.call_soon_threadsafe(self.links[name].passes.set)

    def swallow(self, name: str) -> None:
        self._loop.call_soon_threadsafe(self.links[name].keeps.clear)

    def keep(self, name: str) -> None:
        """Swallow no more: new connections work, and the ends of old ones are heard."""
        self._loop.call_soon_threadsafe(self.links[name].keeps.set)

    def interrupt(self, name: str, by: Callable[[bytes], bytes] | None) -> None:
        """From now on this speaks first, in the server's place; None ends that."""
        self.links[name].interrupt = by

    async def _link(self, name: str, host: str, port: int) -> int:
        if name not in self.links:
            link = Link(host, port)
            server = await asyncio.start_server(lambda reader, writer: self._begin(link, reader, writer), "127.0.0.1")
            self._servers.append(server)
            link.port = server.sockets[0].getsockname()[1]
            self.links[name] = link
        return self.links[name].port

    def _begin(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying = asyncio.get_running_loop().create_task(self._carry(Way(link), reader, writer))
        self._carrying.add(carrying)
        carrying.add_done_callback(self._carrying.discard)

    async def _carry(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.CancelledError):
            await way.link.passes.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection(way.link.host, way.link.far_port)
            except OSError:
                return  # there is no server now
            with closing(far_writer):
                await asyncio.gather(_pump(way, reader, far_writer, writer), _pump(way, far_reader, writer, None))


async def _pump(
    way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter | None
) -> None:
    """Carry one direction to its end. `back` is the other, for what the process says."""
    try:
        with suppress(OSError):  # it broke instead of ending: an end all the same
            while data := await reader.read(CHUNK):
                await way.link.passes.wait()
                way.is_lost = way.is_lost or not way.link.keeps.is_set()
                if way.is_lost:
                    continue
                if back is not None and way.link.interrupt is not None and (said := way.link.interrupt(data)):
                    back.write(said)
                else:
                    writer.write(data)
                    await writer.drain()
        await way.link.passes.wait()
        await way.link.keeps.wait()
    finally:
        writer.close()
