"""What holds for the bus's own files, beside what the import linter holds."""

import re
from pathlib import Path

BUS = Path(__file__).resolve().parents[1]
FOREIGN = r"(analytics|api|chaos|config|consumers|inventory|notifications|orders|shipping|tests|tools|webhooks)\b"


def test_what_tests_share_is_in_no_test_module() -> None:
    borrowed = [
        f"{path.relative_to(BUS)}: {line}"
        for path in BUS.rglob("test_*.py")
        for line in path.read_text().splitlines()
        if re.match(r"(from|import) \S*\btest_", line)
    ]
    assert borrowed == [], "builders.py, samples.py and projections.py in eventbus/tests are where it belongs"


def test_the_bus_and_its_tests_know_nothing_of_the_project() -> None:
    known = [
        f"{path.relative_to(BUS)}: {line.strip()}"
        for path in BUS.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.match(rf"\s*(from|import) {FOREIGN}", line)
    ]
    assert known == []


def test_a_module_is_short_enough_to_be_read_at_once() -> None:
    long = {
        str(path.relative_to(BUS)): lines
        for path in BUS.rglob("*.py")
        if not {"tests", "migrations"} & set(path.parts) and (lines := len(path.read_text().splitlines())) > 300
    }
    assert long == {}
