"""What the import linter can't see: string foreign keys, and documents that drift from the code."""

import ast
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from textwrap import dedent
from typing import Any
from unittest.mock import patch

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.db import connection

import eventbus
from config.celery import app as celery
from eventbus.broker.topology import exchanges, queues
from eventbus.contracts.casting import CASTS, cast
from eventbus.contracts.registry import CONTRACTS
from eventbus.declaration import CONSUMERS, consumers_by_group
from script._lib import procfile
from tests.support.event_fixtures import is_ours

ROOT = Path(settings.BASE_DIR)
OURS = {path.parent.name for path in ROOT.glob("*/apps.py")}
#: A dotted name in quotation marks inside a longer text: an event type or a consumer, as SQL compares with it.
IN_SQL = re.compile(r"'([a-z_]+(?:\.[a-z_]+)+)'")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: What apps may import of the bus. The import linter holds the same; here the pages are held to it too.
NAMES = ("admin", "archive", "documents", "pipeline", "processes", "testing", "traces")
PUBLIC = {"eventbus", *(f"eventbus.{name}" for name in NAMES)}
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")}


def sources_of_apps() -> list[Path]:
    """The product code of every app but the bus: no tests, and no migrations, which are history."""
    return [
        path
        for app in sorted(OURS - {"eventbus", "chaos", "benchmarks"})
        for path in (ROOT / app).rglob("*.py")
        if not {"tests", "migrations"} & set(path.parts)
    ]


def test_the_page_about_production_names_every_group_of_consumers() -> None:
    (row,) = re.findall(r"^\| worker per group \|(.*)\|.*\|$", (ROOT / "docs/deploy.md").read_text(), re.M)
    named = set(re.findall(r"`(?:manage\.py worker )?([a-z_]+)`", row))
    ours = {group for group, found in consumers_by_group().items() if is_ours(found[0].handler.__module__)}
    assert named == ours | {"eventbus"}


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


def texts_in(path: Path) -> list[str]:
    """What stands in a module in quotation marks, docstrings left out. An f-string comes in pieces."""
    tree = ast.parse(path.read_text())
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
    ]


def test_no_app_names_a_table_of_the_bus() -> None:
    tables = "|".join(sorted({model._meta.db_table for model in apps.get_app_config("eventbus").get_models()}))
    naming = re.compile(rf"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?:ONLY\s+)?({tables})\b", re.I)
    named = [
        f"{path.relative_to(ROOT)}: {table}"
        for path in sources_of_apps()
        for text in texts_in(path)
        for table in naming.findall(text)
    ]
    assert named == [], "eventbus.archive has what apps may read of the bus"


def test_an_event_type_is_written_out_only_where_it_is_declared() -> None:
    types = {event_type for event_type, _ in CONTRACTS}
    written = [
        f"{path.relative_to(ROOT)}: {event_type}"
        for path in sources_of_apps()
        for text in texts_in(path)
        for event_type in [text, *IN_SQL.findall(text)]
        if event_type in types and f'type="{event_type}"' not in path.read_text()
    ]
    assert written == [], "take it from the contract, as in OrderCreated.type: then renaming it is noticed"


def test_what_sql_calls_by_a_dotted_name_is_declared() -> None:
    """Where a name has to be spelled out, as in a migration, it is at least one that exists."""
    known = {event_type for event_type, _ in CONTRACTS} | set(CONSUMERS)
    unknown = [
        f"{path.relative_to(ROOT)}: {name}"
        for app in sorted(OURS)
        for path in (ROOT / app).rglob("*.py")
        if "tests" not in path.parts
        for text in texts_in(path)
        for name in IN_SQL.findall(text)
        if name not in known
    ]
    assert unknown == [], "neither a contract nor a consumer is called that"


def test_what_tests_share_is_in_no_test_module() -> None:
    borrowed = [
        f"{path.relative_to(ROOT)}: {line}"
        for folder in sorted(OURS - {"eventbus"} | {"tests"})
        for path in (ROOT / folder).rglob("test_*.py")
        for line in path.read_text().splitlines()
        if re.match(r"(from|import) \S*\btest_", line)
    ]
    assert borrowed == [], "builders.py of the app, its conftest.py, or tests.support is where it belongs"


@pytest.mark.parametrize(("decorator", "module"), [("@invariant(", "invariants.py"), ("@alarm_rule(", "alarms.py")])
def test_what_registers_itself_is_where_it_is_discovered(decorator: str, module: str) -> None:
    declaring = {path for path in sources_of_apps() if f"\n{decorator}" in path.read_text()}
    assert {path for path in declaring if path.name != module} == set()


def imports_of_the_bus(code: str) -> set[str]:
    """The modules of the bus that this code imports from."""
    nodes = list(ast.walk(ast.parse(code)))
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name for name in named if name.split(".")[0] == "eventbus"}


def test_apps_import_the_bus_and_its_public_modules_alone() -> None:
    used = {path: imports_of_the_bus(path.read_text()) for path in sources_of_apps()}
    private = [f"{path.relative_to(ROOT)}: {name}" for path, names in used.items() for name in sorted(names - PUBLIC)]
    assert private == [], f"an app needs {sorted(PUBLIC)} and nothing else of the bus"


def test_the_root_of_the_bus_stays_small() -> None:
    modules = {path.stem for path in (ROOT / "eventbus").glob("*.py")} - {"__init__", "conftest"}
    assert len(modules) <= 10, "a module belongs into the package of its part"


def test_the_door_loads_no_celery_and_no_models() -> None:
    """`events.py` of an app is imported before Django is ready, by processes that never consume."""
    ran = subprocess.run(
        [sys.executable, "-c", "import eventbus, sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = ("celery", "kombu", "amqp", "django.db.models", "django.contrib")
    assert [name for name in ran.stdout.split() if name.startswith(heavy)] == []


def named_in_backticks(page: Path) -> list[str]:
    """The dotted names of our packages that a page gives, as `orders.intake`."""
    dotted = re.findall(r"`([a-z_]+(?:\.\w+)+)(?:\(\))?`", page.read_text())
    return [name for name in dotted if name.split(".")[0] in PACKAGES and not name.endswith(".py")]


def test_every_name_in_the_pages_can_be_imported() -> None:
    """Or it is a name of another kind: of a consumer, a task, an event type, a queue or an exchange."""
    celery.loader.import_default_modules()
    others = {*CONSUMERS, *celery.tasks, *(event_type for event_type, _ in CONTRACTS)}
    others |= {queue.name for queue in queues()} | {exchange.name for exchange in exchanges()}
    named = {name: page for page in PAGES for name in named_in_backticks(page) if name not in others}
    wrong = [f"{page.relative_to(ROOT)}: {name}" for name, page in named.items() if not exists(name)]
    assert wrong == []


def exists(name: str) -> bool:
    try:
        # Of a module it is enough that it is there: the one that a process begins with would begin one.
        if find_spec(name) is not None:
            return True
    except ModuleNotFoundError:
        pass  # its parent is no package
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


#: By deploy/make-secrets.
MADE = {"secrets/"}


def test_every_file_and_folder_in_the_pages_is_there() -> None:
    """All but those that the reader is asked to make."""
    missing = [
        f"{page.relative_to(ROOT)}: {path}"
        for page in PAGES
        for path in re.findall(r"`((?:[a-z_]\w*/)+(?:\w+\.(?:py|json))?)`", page.read_text())
        if not (ROOT / path).exists() and f" as `{path}`:" not in page.read_text() and path not in MADE
    ]
    assert missing == []


def test_the_map_names_every_part_of_the_bus() -> None:
    named = set(named_in_backticks(ROOT / "docs/architecture.md"))
    parts = {f"eventbus.{module.name}" for module in pkgutil.iter_modules(eventbus.__path__)}
    assert parts - named - {f"eventbus.{name}" for name in ("apps", "conftest", "migrations", "tests")} == set()


def test_what_pages_show_of_the_bus_is_public() -> None:
    shown = {
        (page.name, name)
        for page in PAGES
        for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
        for name in imports_of_the_bus(dedent(code))
    }
    assert {(page, name) for page, name in shown if name not in PUBLIC} == set()


def test_every_page_links_only_to_what_is_there() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_command_in_the_pages_exists() -> None:
    djangos = {"migrate", "makemigrations", "check", "shell", "createsuperuser"}
    known = {path.stem for path in ROOT.glob("*/management/commands/*.py")} | djangos
    named = {name for page in PAGES for name in re.findall(r"manage\.py ([a-z_]+)", page.read_text())}
    assert named - known == set()
    scripts = {name for page in PAGES for name in re.findall(r"script/([a-z][a-z-]*)\b", page.read_text())}
    assert {name for name in scripts if not (ROOT / "script" / name).exists()} == set()


@pytest.fixture
def nothing_stays_declared() -> Iterator[None]:
    """What a test declares of consumers, contracts, tables and admin pages is forgotten after it."""
    known = (CONSUMERS, CONTRACTS, CASTS, admin.site._registry, apps.all_models["consumers"])
    with ExitStack() as stack:
        stack.callback(apps.clear_cache)
        for registry in known:
            stack.enter_context(patch.dict(registry))
        yield


def test_image_and_page_serve_web_as_the_procfile_does() -> None:
    image = re.search(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert image is not None
    in_procfile, in_image = (
        re.sub(r"--(host|port) \S+ ", "", command.removeprefix("sh -c exec "))
        for command in (procfile.commands()["web"], " ".join(json.loads(image[1])))
    )
    assert in_image == in_procfile
    assert f"`{in_procfile.replace('${WEB_PROCESSES:-2}', '2')}`" in (ROOT / "docs/deploy.md").read_text()


@pytest.mark.django_db
@pytest.mark.usefixtures("nothing_stays_declared")
def test_the_guides_consumer_and_its_test_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, its_test, _ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/add-a-consumer.md").read_text(), re.S)
    customs = as_module("consumers.customs", code, tmp_path)
    monkeypatch.setitem(sys.modules, customs.__name__, customs)
    assert consumers_by_group()["consumers"][-1] is customs.list_exports
    written = StringIO()
    call_command("makemigrations", "consumers", dry_run=True, stdout=written)
    assert "Create model Export" in written.getvalue()
    with connection.schema_editor() as schema:
        schema.create_model(customs.Export)
    as_module("test_customs", its_test, tmp_path).test_an_order_that_leaves_the_country_is_listed_once()


@pytest.mark.usefixtures("nothing_stays_declared")
def test_the_guides_two_versions_of_a_contract_read_each_other(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/contracts.md").read_text(), re.S)
    boats = as_module("boats", code, tmp_path)
    old = boats.BoatBuiltOne(boat_id="b-1", builder="Ada Lovelace")
    new = cast(old, boats.BoatBuilt)
    assert (new.first_name, new.last_name) == ("Ada", "Lovelace")
    assert cast(new, boats.BoatBuiltOne) == old


def as_module(name: str, code: str, folder: Path) -> Any:
    """The code as Python would import it from a file of this name."""
    file = folder / f"{name.rpartition('.')[2]}.py"
    file.write_text(code)
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
