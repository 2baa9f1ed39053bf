"""DATABASE_URL and BROKER_URL: what they say comes before our defaults, and what is wrong in them is named."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.database import read_database_url
from script._lib.local import ROOT

DEFAULTS = {
    "ENGINE": "django.db.backends.postgresql",
    "CONN_MAX_AGE": None,
    "OPTIONS": {"connect_timeout": 5, "application_name": "pipeline", "options": "-c lock_timeout=20s"},
}


def read(url: str) -> dict[str, Any]:
    return read_database_url("DATABASE_URL", url, DEFAULTS)


def test_what_the_address_says_comes_before_the_defaults(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    found = read(
        f"postgres://shop:p%40ss@db.example:5433/orders?sslmode=verify-full&sslrootcert={authority}&connect_timeout=9"
        "&options=-c%20lock_timeout%3D3s"
    )
    assert found == {
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": None,
        "NAME": "orders",
        "USER": "shop",
        "PASSWORD": "p@ss",
        "HOST": "db.example",
        "PORT": "5433",
        "OPTIONS": {
            "connect_timeout": "9",
            "application_name": "pipeline",
            # The last one holds.
            "options": "-c lock_timeout=20s -c lock_timeout=3s",
            "sslmode": "verify-full",
            "sslrootcert": str(authority),
        },
    }


def test_several_hosts_and_a_socket_are_libpqs_own_affair() -> None:
    several = read("postgres://a.example:1,b.example:2/orders?target_session_attrs=read-write")
    assert (several["HOST"], several["PORT"]) == ("a.example,b.example", "1,2")
    assert several["OPTIONS"]["target_session_attrs"] == "read-write"
    assert read("postgres:///orders?host=/run/postgresql")["HOST"] == "/run/postgresql"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://h/orders?sslmod=require", 'invalid URI query parameter: "sslmod"'),
        ("postgres://u:pass%word@h/orders", "percent-encoded"),
        ("mysql://h/orders", "write postgres://"),
        ("postgres://h", "names no database"),
        ("postgres://h/orders?sslmode=verify-full&sslrootcert=/nowhere.pem", r"sslrootcert names /nowhere\.pem, which"),
    ],
)
def test_what_is_wrong_is_named_and_no_password_shown(url: str, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says) as refusal:
        read(url)
    assert str(refusal.value).startswith("DATABASE_URL")
    assert "word" not in str(refusal.value).replace("password", "")


@pytest.mark.parametrize("variable", ["DATABASE_URL", "BROKER_URL", "DECLARING_BROKER_URL"])
@pytest.mark.parametrize(
    "command", [["manage.py", "relay"], ["manage.py", "migrate"], ["-m", "celery", "-A", "config", "beat"]]
)
def test_every_process_refuses_at_its_start(variable: str, command: list[str]) -> None:
    env = os.environ | {variable: f"{os.environ[variable]}?sslfoo=1", "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert variable in last
    assert "sslfoo" in last
