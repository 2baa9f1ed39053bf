"""Where a webhook may lead: to the open internet, and into our own networks only where we say so.

A name is looked up once per attempt, what it stands for is checked, and the connection goes to that very address: a
name that means another one a moment later leads nowhere.
"""

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx
from django.conf import settings

MOST_CHARACTERS = 2_000
#: Addresses of one name that are tried.
MOST_TRIED = 3
#: The last part of a name begins with a letter: of what begins with a digit, some think that it is an IPv4 address.
_NAME = re.compile(r"(?:[a-z0-9_][a-z0-9_-]{0,62}\.)*[a-z][a-z0-9-]{0,62}")
#: Ports below 1024 that serve the web. The others are for mail, shells, name servers and the like.
_WEB_PORTS = {80, 443}
#: IPv6 networks that end in an IPv4 address, which somebody on the way connects to.
_NAT64 = ip_network("64:ff9b::/96")
#: All that is given out of IPv6.
_GIVEN_OUT = ip_network("2000::/3")
#: What this or that version of Python takes for the open internet: services that a cloud has for its machines alone
#: (Azure's, and Oracle's within the second), relays that are no more, and examples.
_CLOSED = [*map(ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))]

Address = IPv4Address | IPv6Address


class ForbiddenAddress(ValueError):
    """A webhook may not lead there. The message says why."""


def host_of(url: httpx.URL) -> str:
    """Its host as it was written. httpx shows what `xn--` stands for, and others would write that another way."""
    return url.raw_host.decode("ascii")


def check_url(url: str) -> httpx.URL:
    """The address of a webhook, as far as one can tell without looking anything up. Raises ForbiddenAddress."""
    if len(url) > MOST_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise ForbiddenAddress(f"Write it in ASCII, without spaces, in {MOST_CHARACTERS} characters at most.")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ForbiddenAddress("It is not a URL.") from None
    host = host_of(parsed)
    if parsed.scheme not in ("https", "http") or not host:
        raise ForbiddenAddress("It is a URL with https:// and a host.")
    if parsed.port is not None and not (parsed.port in _WEB_PORTS or 1024 <= parsed.port < 2**16):
        raise ForbiddenAddress("Its port is 443, or one from 1024 up to 65535.")
    if parsed.userinfo or parsed.fragment or "%" in host:
        raise ForbiddenAddress("It has no user, no password, no zone and no fragment.")
    try:
        literal = ip_address(host)
    except ValueError:
        if not _NAME.fullmatch(host):
            raise ForbiddenAddress("Its host is neither a name nor an IP address in full.") from None
        # Only a network of ours may be reached without TLS, and which host is there only a look-up tells.
        if parsed.scheme == "http" and not settings.WEBHOOK_ALLOWED_NETWORKS:
            raise ForbiddenAddress("It begins with https://.") from None
    else:
        check_address(literal, scheme=parsed.scheme)
    return parsed


def check_address(address: Address, *, scheme: str) -> None:
    """Raises ForbiddenAddress for one that a webhook may not lead to."""
    address = _meant(address)
    if any(address in ip_network(each) for each in settings.WEBHOOK_ALLOWED_NETWORKS):
        return
    is_nobodys = isinstance(address, IPv6Address) and address not in _GIVEN_OUT
    is_closed = is_nobodys or any(address in each for each in _CLOSED)
    if not address.is_global or address.is_multicast or address.is_reserved or is_closed:
        raise ForbiddenAddress("It leads to an address that is not on the open internet.")
    if scheme != "https":
        raise ForbiddenAddress("It begins with https://.")


def look_up(url: httpx.URL) -> list[str]:
    """The addresses that it leads to, to be tried in this order. Waits for the name servers.

    Raises ForbiddenAddress if any of them is forbidden, and OSError where there is none.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    found: Sequence[tuple[object, ...]] = socket.getaddrinfo(host_of(url), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found if isinstance(place, tuple)))
    for each in addresses:
        check_address(ip_address(each.partition("%")[0]), scheme=url.scheme)
    return addresses[:MOST_TRIED]


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
    return inner or address
