"""The network that `script/chaos` cuts, between two sockets."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tools.chaos.network import Network


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.settimeout(5)
        yield listening


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.open()
    yield network
    network.close()


def connect(network: Network, far: socket.socket) -> tuple[socket.socket, socket.socket]:
    port = network.link("relay", *far.getsockname())
    near = socket.create_connection(("127.0.0.1", port), timeout=5)
    there, _ = far.accept()
    there.settimeout(5)
    return near, there


def hears_nothing(end: socket.socket) -> bool:
    end.settimeout(0.2)
    try:
        end.recv(100)
    except TimeoutError:
        return True
    finally:
        end.settimeout(5)
    return False


def test_what_is_sent_goes_both_ways_and_so_does_an_end(network: Network, far: socket.socket) -> None:
    near, there = connect(network, far)
    with near, there:
        near.sendall(b"ping")
        assert there.recv(100) == b"ping"
        there.sendall(b"pong")
        assert near.recv(100) == b"pong"
        near.close()
        assert there.recv(100) == b""


def test_a_cut_lets_nothing_through_not_even_an_end_and_restoring_lets_it_arrive(
    network: Network, far: socket.socket
) -> None:
    near, there = connect(network, far)
    with near, there:
        network.cut("relay")
        near.sendall(b"late")
        near.close()
        assert hears_nothing(there)
        network.restore("relay")
        assert there.recv(100) == b"late"
        assert there.recv(100) == b""


def test_a_cut_is_for_one_process_alone(network: Network, far: socket.socket) -> None:
    near, there = connect(network, far)
    network.link("web", *far.getsockname())
    network.cut("web")
    with near, there:
        near.sendall(b"ping")
        assert there.recv(100) == b"ping"


def test_what_is_swallowed_is_gone_and_so_is_the_use_of_its_connection(network: Network, far: socket.socket) -> None:
    near, there = connect(network, far)
    with near, there:
        network.swallow("relay")
        near.sendall(b"gone")
        assert hears_nothing(there)
        network.keep("relay")
        near.sendall(b"more")
        there.sendall(b"answer")
        assert hears_nothing(there)
        assert hears_nothing(near)
        near.close()
        assert there.recv(100) == b""


def test_a_new_connection_works_once_nothing_is_swallowed_and_an_idle_one_has_lost_nothing(
    network: Network, far: socket.socket
) -> None:
    idle, there = connect(network, far)
    with idle, there:
        network.swallow("relay")
        network.keep("relay")
        near, new = connect(network, far)
        with near, new:
            for one, other in ((near, new), (idle, there)):
                one.sendall(b"ping")
                assert other.recv(100) == b"ping"


def test_somebody_speaks_in_the_servers_place(network: Network, far: socket.socket) -> None:
    near, there = connect(network, far)
    with near, there:
        network.interrupt("relay", lambda said: b"later" if said == b"now" else b"")
        near.sendall(b"now")
        assert near.recv(100) == b"later"
        near.sendall(b"please")
        assert there.recv(100) == b"please"
