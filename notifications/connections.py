"""Connections to the mail server, which outlive the mail that they were opened for.

A server may take minutes to greet (RFC 5321, 4.5.3.2), and whoever sends a mail has seconds. So connections are opened
beside the run that asks: if one is not ready in time the run gives up, and the next one goes on waiting for the same
connection. One that has carried a mail is kept for the next.
"""

import select
import smtplib
import socket
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.mail.backends.smtp import EmailBackend

#: For the greeting, and for each answer until the connection is ready. RFC 5321 says five minutes.
GREETING_SECONDS = 300
#: Nobody uses a connection that was idle for so long: servers hang up on it after five minutes.
IDLE_SECONDS = 240
#: For an answer that nothing depends on.
COURTESY_SECONDS = 1


class NotReady(Exception):
    """The server has not greeted yet. It is still waited for."""


class _QuickToConnect(smtplib.SMTP):
    """Patient with who listens, not with who isn't there: a connection comes about in seconds or never."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        found: socket.socket = super()._get_socket(host, port, settings.EMAIL_TIMEOUT)  # type: ignore[misc]
        found.settimeout(timeout)
        return found


class _QuickToConnectByTLS(_QuickToConnect, smtplib.SMTP_SSL):
    """The same, encrypted from the start."""


class _Backend(EmailBackend):
    def __init__(self) -> None:
        super().__init__(timeout=GREETING_SECONDS)

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return _QuickToConnectByTLS if self.use_ssl else _QuickToConnect


@dataclass
class Connection:
    """A connection that is greeted and logged in. `server` is between two mails when it is given back."""

    address: tuple[Any, ...]
    server: smtplib.SMTP
    idle_since: float = field(default_factory=monotonic)
    #: Whether the server has nothing of the last mail, if there was one: then the next one may begin at once.
    is_clear: bool = True

    def works(self) -> bool:
        """Whether it can take a mail, as far as its server says. It forgets what it has of the last one."""
        idle = monotonic() - self.idle_since
        if self.server.sock is None or idle > IDLE_SECONDS:
            return False
        if self.is_clear and idle < COURTESY_SECONDS and not self.has_news():
            return True
        try:
            self.server.sock.settimeout(COURTESY_SECONDS)
            code, _ = self.server.rset()
            self.server.sock.settimeout(settings.EMAIL_TIMEOUT)
        except OSError:
            return False
        return code == 250

    def has_news(self) -> bool:
        """Whether the server closed it, or said something of itself. By TLS it may have said what means nothing."""
        assert self.server.sock is not None
        return bool(select.select([self.server.sock], [], [], 0)[0])

    def quit(self) -> None:
        """Take leave."""
        try:
            if self.server.sock is not None:
                self.server.sock.settimeout(COURTESY_SECONDS)
                self.server.quit()
        except OSError:
            pass
        finally:
            self.server.close()


class Connections:
    """Those of this process. Thread-safe; one is opened at a time."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._idle: list[Connection] = []
        self._opening: tuple[Any, ...] | None = None
        self._error: Exception | None = None

    def take(self, patience: float) -> Connection:
        """A connection that works: one that is idle, or else a new one.

        Raises NotReady if there is none within so many seconds, and whatever opening one raises.
        """
        address = _address()
        while (connection := self._wait(address, patience)).address != address or not connection.works():
            connection.quit()
        return connection

    def give_back(self, connection: Connection, *, is_clear: bool) -> None:
        """Keep one for the next mail. `is_clear`: the server has taken the last one, and waits for another."""
        connection.idle_since, connection.is_clear = monotonic(), is_clear
        with self._changed:
            self._idle.append(connection)

    def close(self) -> None:
        """Take leave on all that are idle."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.quit()

    def _wait(self, address: tuple[Any, ...], patience: float) -> Connection:
        with self._changed:
            if not self._idle and self._opening != address:
                self._opening, self._error = address, None
                Thread(target=self._open, args=(address, _Backend()), daemon=True).start()
            if not self._changed.wait_for(lambda: self._idle or self._error, patience):
                raise NotReady("The server has not greeted us yet. The next attempt goes on waiting.")
            if self._idle:
                return self._idle.pop()
            error, self._error = self._error, None
            assert error is not None
            raise error

    def _open(self, address: tuple[Any, ...], backend: _Backend) -> None:
        opened, failed = None, None
        try:
            backend.open()
            server = backend.connection
            assert server is not None
            assert server.sock is not None
            server.ehlo_or_helo_if_needed()
            server.sock.settimeout(settings.EMAIL_TIMEOUT)
            # Or the kernel holds the dot back until the server has acknowledged the content: 40 ms.
            server.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened = Connection(address, server)
        except Exception as error:  # noqa: BLE001  raised again where somebody waits
            failed = error
        with self._changed:
            if self._opening == address:
                self._opening, self._error = None, failed
            if opened is not None:
                self._idle.append(opened)
            self._changed.notify_all()


def _address() -> tuple[Any, ...]:
    """Where mail goes, and as whom."""
    return (
        settings.EMAIL_HOST,
        settings.EMAIL_PORT,
        settings.EMAIL_HOST_USER,
        settings.EMAIL_USE_TLS,
        settings.EMAIL_USE_SSL,
    )


#: Of this process.
connections = Connections()
