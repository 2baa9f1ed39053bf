"""The names of settings: every one is listed, and compose hands on every one. Values are what is written."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.exceptions import ImproperlyConfigured

from config.environment import Environment
from script._lib.local import ROOT

LISTED = set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
#: What a container has of its own, whatever .env says.
OWN = {
    *("PORT", "FLOWER_PORT", "LOCAL_DIR", "HTTPS", "EMAIL_URL"),
    *("OWNER_DATABASE_URL", "DECLARING_BROKER_URL", "MANAGEMENT_URL"),
}
#: For what uses neither tables nor queues of ours.
WITHOUT = {"postgres", "rabbitmq", "mail", "gateway", "prometheus", "grafana"}


def services() -> dict[str, dict[str, Any]]:
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return {name: service for name, service in file["services"].items() if name not in WITHOUT}


def test_every_setting_that_is_read_is_listed() -> None:
    read = r'\benv\.\w+\(\s*"([A-Z_]+)"'
    files = [*(ROOT / "config").glob("*.py"), ROOT / "Procfile", ROOT / "docker-compose.yml"]
    found = {name for file in files for name in re.findall(rf"{read}|\$\{{?([A-Z_]+)", file.read_text())}
    names = {name for pair in found for name in pair if name}
    # Of the image and of the engine.
    assert names - LISTED - {"RABBITMQ_DEFAULT_PASS"} == set()


@pytest.mark.parametrize("service", services())
def test_compose_hands_every_setting_to_every_process(service: str) -> None:
    mine = services()[service]
    assert mine["env_file"] == [{"path": ".env", "required": False}]
    assert set(mine["environment"]) & LISTED == OWN


@pytest.mark.parametrize("secret", ["$ecret", "a$b$$c", r"back\slash \$ and '\"", "$", "${HOME}"])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_value_is_what_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: str, as_file: bool
) -> None:
    if as_file:
        # As editors leave it.
        (tmp_path / "secret").write_text(f"{secret}\n")
        monkeypatch.setenv("A_SECRET_FILE", str(tmp_path / "secret"))
    else:
        monkeypatch.setenv("A_SECRET", secret)
    assert Environment().str("A_SECRET") == secret


def test_pairs_are_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PAIRS", "order.created=1,order.shipped=2")
    assert Environment().pairs("SOME_PAIRS") == {"order.created": "1", "order.shipped": "2"}
    monkeypatch.setenv("SOME_PAIRS", "order.created=1,oops")
    with pytest.raises(ImproperlyConfigured, match=r"SOME_PAIRS is a list of key=value.*'oops'"):
        Environment().pairs("SOME_PAIRS")
    monkeypatch.setenv("SOME_PAIRS", "")
    assert Environment().pairs("SOME_PAIRS") == {}


def test_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_NUMBER", "")
    assert Environment().int("A_NUMBER", default=7) == 7
