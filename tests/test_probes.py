"""Probes of load balancers, containers and scripts."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from script._lib.local import ROOT


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_a_probe_needs_no_host_name_and_no_tls(client: Client, settings: Any, path: str) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["shop.example"], True
    answer = client.get(path, headers={"Host": "10.0.0.7:8000"})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("age", "code"), [(5, 0), (60, 1), (None, 1)])
def test_a_process_is_alive_by_the_age_of_its_last_sign(tmp_path: Path, age: float | None, code: int) -> None:
    folder = tmp_path / "a shop" / "heartbeats"
    folder.mkdir(parents=True)
    (folder / "beat").touch()
    if age is not None:
        (folder / "relay").touch()
        moment = time.time() - age
        os.utime(folder / "relay", (moment, moment))
    asked = subprocess.run(
        [ROOT / "script/alive", "relay"], env=os.environ | {"LOCAL_DIR": str(folder.parent)}, check=False
    )
    assert asked.returncode == code
