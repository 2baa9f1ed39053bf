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
def network(far: socket.socket) -> Iterator[Network]:
    network = Network(*far.getsockname())
    network.open()
    yield network
    network.close()


def connect(network: Network, far: socket.socket) -> tuple[socket.socket, socket.socket]:
    near = socket.create_connection(("127.0.0.1", network.link("relay")), timeout=5)
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


def test_what_is_swallowed_never_arrives_and_what_comes_later_does(network: Network, far: socket.socket) -> None:
    near, there = connect(network, far)
    with near, there:
        network.swallow("relay")
        near.sendall(b"lost")
        assert hears_nothing(there)
        network.restore("relay")
        # The order of both goes through the network's own thread.
        network.link("relay")
        near.sendall(b"later")
        assert there.recv(100) == b"later"


def test_a_cut_is_for_one_process_alone(network: Network, far: socket.socket) -> None:
    near, there = connect(network, far)
    network.link("web")
    network.cut("web")
    with near, there:
        near.sendall(b"ping")
        assert there.recv(100) == b"ping"
