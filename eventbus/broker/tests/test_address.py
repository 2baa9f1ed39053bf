import ssl
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from eventbus.broker.address import BrokerAddress, read_address
from eventbus.broker.connection import celery_connection, shown


def test_an_address_without_parameters_leaves_all_to_the_defaults() -> None:
    address = read_address("amqp://shop:secret@mq.example:5672//")
    assert address == BrokerAddress("amqp://shop:secret@mq.example:5672//", ("mq.example",), "/", uses_tls=False)
    assert celery_connection("amqp://mq.example") == {
        "broker_url": "amqp://mq.example",
        "broker_read_url": "amqp://mq.example",
        "broker_write_url": "amqp://mq.example",
        "broker_use_ssl": False,
        "broker_transport_options": {},
    }


def test_what_is_said_once_holds_for_all_nodes() -> None:
    url = (
        "amqps://shop:secret@a.example/shop?verify=verify_none&heartbeat=7;amqps://shop:secret@b.example/shop"
        "?heartbeat=7&connection_timeout=2500&channel_max=9&auth_mechanism=external&server_name_indication=mq.example"
    )
    address = read_address(url)
    assert (address.hosts, address.vhost, address.verifies) == (("a.example", "b.example"), "shop", False)
    nodes = "amqps://shop:secret@a.example/shop;amqps://shop:secret@b.example/shop"
    assert celery_connection(url) == {
        "broker_url": nodes,
        "broker_read_url": nodes,
        "broker_write_url": nodes,
        "broker_use_ssl": {"cert_reqs": ssl.CERT_NONE, "server_hostname": "mq.example"},
        "broker_transport_options": {"channel_max": 9},
        "broker_heartbeat": 7,
        "broker_connection_timeout": 2.5,
        "broker_login_method": "EXTERNAL",
    }


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("amqps://h?cafile=/ca.pem", "the parameter cafile is not known"),
        ("amqps://h?cacertfile=/nowhere.pem", "cacertfile names /nowhere.pem, which can't be read: No such file"),
        (f"amqps://h?cacertfile={Path(__file__)}", "which holds no certificate"),
        (f"amqps://h?certfile={__file__}&keyfile={__file__}", "certfile and keyfile name no certificate"),
        ("amqps://h?certfile=/us.pem", "certfile needs the other one beside it"),
        ("amqp://h?cacertfile=/ca.pem", "begin the address with amqps://"),
        ("amqps://h?verify=none", "not one of verify_peer, verify_none"),
        ("amqps://h?heartbeat=soon", "heartbeat is 'soon', not a whole number"),
        ("amqps://h?auth_mechanism=magic", "not one of plain, amqplain, external"),
        ("amqps://a?heartbeat=1;amqps://b?heartbeat=2", "heartbeat is given twice"),
        ("amqps://a;amqp://b", "use one of the two"),
        ("redis://h", "is not a valid address"),
        ("", "is not a valid address"),
        ("amqp://u:pass#word@h", "percent-encoded"),
        ("amqp://u:pass/word@h", "percent-encoded"),
        ("amqp://u:p?ass-word@h", "percent-encoded|after its question mark"),
    ],
)
def test_what_is_wrong_is_named_and_no_password_shown(url: str, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says) as refusal:
        read_address(url)
    assert str(refusal.value).startswith("BROKER_URL")
    assert "word" not in str(refusal.value).replace("password", "")


def test_it_is_said_which_of_the_two_addresses_is_wrong() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DECLARING_BROKER_URL: the parameter cafile is not known"):
        read_address("amqps://h?cafile=/ca.pem", "DECLARING_BROKER_URL")
    with pytest.raises(ImproperlyConfigured, match=r"^DECLARING_BROKER_URL is not a valid address"):
        read_address("redis://h", "DECLARING_BROKER_URL")


def test_people_are_shown_neither_passwords_nor_paths() -> None:
    assert (
        shown("amqps://u:secret@a//?heartbeat=5;amqps://u:secret@b//") == "amqps://u:**@a:5671//;amqps://u:**@b:5671//"
    )
