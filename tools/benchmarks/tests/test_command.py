from pathlib import Path
from typing import Any

import pytest

from tools.benchmarks.command import manage


@pytest.fixture(autouse=True)
def logs(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    settings.LOCAL_DIR = tmp_path


def test_it_says_what_a_command_took() -> None:
    usage = manage("diffsettings", log="it")
    assert 0 < usage.seconds < 60
    # Django alone takes this much; a thousand times more would be kilobytes taken for megabytes.
    assert 20 < usage.peak_mb < 2000


def test_what_the_command_says_is_kept_apart(tmp_path: Path) -> None:
    manage("diffsettings", log="it")
    assert "INSTALLED_APPS" in (tmp_path / "logs/bench-it.log").read_text()


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match=r"nonsense ended with code 1: read .*bench-it\.log"):
        manage("nonsense", log="it")
