"""What the import linter can't see: string foreign keys, and documents that drift from the code."""

import os
import re
import runpy
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

import pytest
from django.apps import apps
from django.conf import settings

from eventbus import declarations
from eventbus.context import new_id
from eventbus.testing import deliver
from orders.events import Address, Item, OrderCreated

ROOT = Path(settings.BASE_DIR)
OURS = {path.parent.name for path in ROOT.glob("*/apps.py")}
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def test_no_relation_crosses_apps() -> None:
    crossing = [
        f"{model.__name__}.{field.name} -> {field.related_model.__name__}"
        for model in apps.get_models()
        if model._meta.app_label in OURS
        for field in model._meta.get_fields()
        if field.is_relation and not field.auto_created and field.related_model
        if field.related_model._meta.app_label in OURS - {model._meta.app_label}
    ]
    assert crossing == [], "apps know each other by events and ids only"


def test_every_page_links_only_to_what_is_there() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_command_in_the_pages_exists() -> None:
    known = {path.stem for path in ROOT.glob("*/management/commands/*.py")} | {"migrate", "check", "shell"}
    named = {name for page in PAGES for name in re.findall(r"manage\.py ([a-z_]+)", page.read_text())}
    assert named - known == set()
    scripts = {name for page in PAGES for name in re.findall(r"script/([a-z]+)\b", page.read_text())}
    assert {name for name in scripts if not (ROOT / "script" / name).exists()} == set()


@pytest.mark.django_db(transaction=True)
def test_the_guides_consumer_runs_as_it_stands(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/add-a-consumer.md").read_text(), re.S)[0]
    file = tmp_path / "loyalty.py"
    file.write_text(code)
    with patch.dict(declarations.registry):
        consumer = runpy.run_path(str(file))["notice_large_orders"]
    event = OrderCreated(
        order_id=new_id(),
        customer_id="c-1",
        customer_email="ada@shop.example",
        items=(Item(product_id="desk", product_name="Desk", quantity=2, unit_price=Decimal(600)),),
        shipping_address=Address(street="1 Main St", city="Springfield", state="IL", postal_code="62701", country="US"),
        total_amount=Decimal(1200),
        currency="USD",
        created_at=datetime.now(UTC),
    )
    assert deliver(event, to=consumer) == 1
    assert deliver(event, to=consumer) == 0


def test_a_failpoint_outside_the_tests_is_refused() -> None:
    ran = subprocess.run(
        [sys.executable, "manage.py", "check", "--settings=config.settings"],
        cwd=ROOT,
        env={**os.environ, "FAILPOINT": "relay.after_confirm"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "FAILPOINT" in ran.stderr
