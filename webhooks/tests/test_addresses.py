"""Where a webhook may lead, however its address is written."""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from django.contrib.auth.models import User

from eventbus.testing import wait_until
from webhooks import services
from webhooks.addresses import ForbiddenAddress, check_address, check_url, look_up
from webhooks.models import Delivery
from webhooks.tests.builders import a_webhook
from webhooks.tests.conftest import running
from webhooks.tests.partner import Partner

INSIDE = [
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1"),
    *("255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
    # What an address translator, a relay or a cloud's own service is behind.
    *("168.63.129.16", "192.0.0.192", "192.88.99.1", "64:ff9b:1::a9fe:a9fe", "fd00:ec2::254", "3fff::1", "4000::1"),
    *("::1", "::", "fe80::1", "fd00::1", "fec0::1", "ff02::1", "::127.0.0.1", "2001:db8::1"),
    # IPv4 addresses as IPv6 says them: mapped, 6to4, NAT64, Teredo.
    *(
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ),
]


@pytest.fixture
def nothing_is_allowed(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []


def means(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Name servers that give these answers, one after another; returns what they were asked for."""
    left, asked = list(answers), []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(0, 0, 0, "", (address, port)) for address in (left.pop(0) if len(left) > 1 else left[0])]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.usefixtures("nothing_is_allowed")
@pytest.mark.parametrize("address", INSIDE)
def test_our_own_networks_are_closed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ForbiddenAddress):
        check_address(ip_address(address), scheme="https")
    with pytest.raises(ForbiddenAddress):
        check_url(f"https://[{address}]/" if ":" in address else f"https://{address}/")
    means(monkeypatch, ["93.184.215.14", address])
    with pytest.raises(ForbiddenAddress):
        look_up(check_url("https://partner.example/"))


@pytest.mark.usefixtures("nothing_is_allowed")
@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_the_open_internet_is_open_by_tls(address: str) -> None:
    check_address(ip_address(address), scheme="https")
    with pytest.raises(ForbiddenAddress, match="https"):
        check_address(ip_address(address), scheme="http")


def test_a_network_of_ours_is_open_by_its_name(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["10.1.0.0/16", "fd00::/8"]
    for scheme in ("https", "http"):
        check_address(ip_address("10.1.2.3"), scheme=scheme)
        check_address(ip_address("::ffff:10.1.2.3"), scheme=scheme)
        check_address(ip_address("fd00::7"), scheme=scheme)
    with pytest.raises(ForbiddenAddress):
        check_address(ip_address("10.2.0.1"), scheme="https")


@pytest.mark.usefixtures("nothing_is_allowed")
@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "//partner.example/", "ftp://partner.example/", "https://", "https:///x", "javascript:alert(1)"),
        *("http://partner.example/", "https://me:pass@partner.example/", "https://partner.example/#x"),
        *(
            "https://partner.example/\r\nx: y",
            "https://partner.example/ x",
            "https://pärtner.example/",
            "https://a:99999/",
        ),
        # Mail, shells, no port at all.
        *("https://partner.example:25/", "https://partner.example:22/", "https://partner.example:0/"),
        # 127.0.0.1, as some read it, and what is no name.
        *("https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://017700000001/", "https://127.0.0.1./"),
        *("https://*/", "https://a..example/", "https://a%2eexample/", "https://[2606:2800::1%25eth0]/"),
        *("https://127.0.0.1\\@partner.example/", "https://partner.example\\.x/", f"https://{'a' * 64}.example/"),
        f"https://partner.example/{'x' * 2_000}",
    ],
)
def test_what_is_no_address_of_a_partner_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_url(url)


@pytest.mark.usefixtures("nothing_is_allowed")
@pytest.mark.parametrize(
    "url",
    [
        *("https://partner.example", "https://partner.example:443/", "https://partner.example:8443/hook?for=us"),
        *("https://xn--bcher-kva.example/", "https://a_b.partner-1.example/", "https://[2606:2800:21f:cb07::1]:8443/"),
    ],
)
def test_what_partners_have_is_taken(url: str) -> None:
    assert check_url(url).scheme == "https"


@pytest.mark.parametrize("name", ["xn--strae-oqa.example", "xn--bcher-kva.example", "xn--zzzzz.example"])
def test_a_name_is_looked_up_as_it_is_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = means(monkeypatch, ["93.184.215.14"])
    assert look_up(check_url(f"https://{name}/")) == ["93.184.215.14"]
    assert asked == [name]


@pytest.mark.django_db(transaction=True)
def test_a_name_that_changes_its_meaning_leads_nowhere_not_even_by_a_test(
    owner: User, partner: Partner, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.2/32"]
    asked = means(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
    webhook, _ = a_webhook(owner, f"http://partner.example:{partner.port}/")
    for _ in range(2):
        services.ping(webhook.pk)
    with running():
        wait_until(lambda: not Delivery.objects.filter(tries=0) and _at_rest(), 60, "both attempts")
    errors = sorted(Delivery.objects.values_list("error", flat=True))
    # The first went to 127.0.0.2, where nobody listens, though its name means 127.0.0.1 by now; the second not at all.
    assert errors[0].startswith("ConnectError"), errors
    assert errors[1] == "It leads to an address that is not on the open internet."
    assert (partner.received, asked) == ([], ["partner.example"] * 2)


def _at_rest() -> bool:
    return not Delivery.objects.exclude(claimed_by=None).exists()


@pytest.mark.django_db(transaction=True)
def test_another_address_of_a_name_is_tried_when_nobody_listens(
    owner: User, partner: Partner, monkeypatch: pytest.MonkeyPatch, partners: Callable[[], Partner]
) -> None:
    means(monkeypatch, ["127.0.0.9", "127.0.0.1"])
    webhook, _ = a_webhook(owner, f"http://partner.example:{partner.port}/")
    services.ping(webhook.pk)
    with running():
        wait_until(lambda: partner.received, 60, "the test")
    assert partner.received[0].headers["host"] == f"partner.example:{partner.port}"
