"""The reasons of dead letters are one enum. Where they are written down again, it is the same list."""

import re

import pytest
from django.db import connection

from eventbus.errors import UNREAD, Reason
from eventbus.tests.settings import PROJECT


@pytest.mark.django_db
def test_the_trigger_leaves_alone_what_nobody_could_read() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef('heal_dead_letter'::regproc)")
        (definition,) = cursor.fetchone()
    listed = re.search(r"reason NOT IN \((.*?)\)", definition, re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == UNREAD


def test_the_guide_explains_each_reason() -> None:
    guide = (PROJECT / "docs/dead-letters.md").read_text()
    _, table = guide.split("| reason |", 1)
    rows = [line.split("|")[1] for line in table.split("\n\n", 1)[0].splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(Reason)
