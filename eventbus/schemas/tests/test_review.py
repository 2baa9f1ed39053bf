"""What `check_schemas` says of contracts that changed, and `export_schemas` does about them."""

import json
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command

from eventbus.contracts.casting import CASTS, upcast
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.declaration import consumer
from eventbus.schemas.folder import file_of, published_schema
from eventbus.schemas.review import RULES, review

# As in samples: the real registry is put back.
with patch.dict(CONTRACTS):

    class ToySold(Event, type="toy.sold", version="1.0", aggregate="toy_id"):
        """Somebody bought a toy."""

        toy_id: str
        price: Decimal
        colour: str = "red"


@pytest.fixture(autouse=True)
def only_toys(tmp_path: Path, settings: Any) -> Any:
    """A registry with one published contract, and a consumer that listens to it."""
    settings.EVENTBUS_SCHEMA_DIR = tmp_path / "schemas"
    CONTRACTS.clear()
    CONTRACTS["toy.sold", "1"] = ToySold
    consumer("toy.wrap", on=[ToySold])(lambda event: None)
    with patch.dict(CASTS):
        export()
        yield


def export() -> dict[str, Any]:
    out = StringIO()
    call_command("export_schemas", "--json", stdout=out)
    return dict(json.loads(out.getvalue()))


def check(*options: str) -> tuple[int, str]:
    """Its exit code, and what it prints."""
    out = StringIO()
    try:
        call_command("check_schemas", *options, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def declare(version: str, doc: str = "Somebody bought a toy.", **fields: Any) -> type[Event]:
    """The contract as a later commit has it: its class replaced, or one of another version beside it."""
    CONTRACTS.pop(("toy.sold", version.partition(".")[0]), None)
    annotations = {"toy_id": str} | {name: kind for name, (kind, *_) in fields.items()}
    defaults = {name: default for name, (_, *rest) in fields.items() for default in rest}
    body = {"__annotations__": annotations, "__module__": __name__, "__doc__": doc, **defaults}
    metaclass: Any = type(Event)
    contract: type[Event] = metaclass("ToySold", (Event,), body, type="toy.sold", version=version, aggregate="toy_id")
    return contract


SAME: dict[str, Any] = {"price": (Decimal,), "colour": (str, "red")}


def test_what_is_as_published_is_right() -> None:
    assert review() == []
    assert check() == (0, "1 published schemas, and the code keeps them all.\n")


def test_a_version_without_a_file_is_named() -> None:
    declare("2.0", price=(Decimal,))
    rules = {each.rule: each for each in review()}
    assert rules["not-exported"].version == "2.0"
    assert "export_schemas" in rules["not-exported"].advice


def test_a_field_that_is_removed_or_retyped_breaks_whoever_listens() -> None:
    declare("1.0", price=(str,))
    [found] = review()
    assert (found.rule, found.verdict, found.breaks) == ("changed", "BREAKING", ("toy.wrap",))
    assert found.reasons == (
        "An event of 1.0, archived or under way, that the code can't read: /data/price: is number, not string",
        "An event of the code that readers of 1.0 don't understand: /data/price: is string, not number",
        "An event of the code that readers of 1.0 don't understand: /data/colour: is not written any more: who reads "
        "it finds nothing",
    )
    assert "version 2.0, a class of its own with an upcaster" in found.advice


@pytest.mark.parametrize(
    ("fields", "verdict", "advice"),
    [
        (SAME | {"size": (int, 1)}, "FULL", 'Raise the version to "1.1"'),
        (SAME | {"size": (int,)}, "FORWARD", "declare the change as version 2.0"),
        ({"price": (Decimal | None,), "colour": (str, "red")}, "BACKWARD", "declare the change as version 2.0"),
    ],
)
def test_each_change_of_a_published_version_says_what_to_do(fields: Any, verdict: str, advice: str) -> None:
    declare("1.0", **fields)
    [found] = review()
    assert (found.rule, found.verdict) == ("changed", verdict)
    assert advice in found.advice
    with pytest.raises(CommandError, match="Published with another meaning: toy"):
        export()


def test_other_words_are_exported_again_and_nothing_else_is() -> None:
    declare("1.0", doc="A toy was bought.", **SAME)
    [found] = review()
    assert (found.rule, found.verdict, found.breaks) == ("text-changed", "FULL", ())
    assert [Path(each).name for each in export()["written"]] == ["1.0.json"]
    assert review() == []
    assert b"A toy was bought." in (published_schema("toy.sold", "1.0") or b"")


def test_a_minor_version_is_held_to_every_one_before_it() -> None:
    declare("1.1", **SAME, size=(int, 1))
    export()
    assert review() == []
    declare("1.2", **SAME)
    found = {each.published: each for each in review() if each.rule == "not-a-minor"}
    assert {version: each.verdict for version, each in found.items()} == {"1.1": "BACKWARD"}
    assert file_of("toy.sold", "1.0").exists()


def test_code_that_is_older_than_what_is_published_is_found() -> None:
    declare("1.1", **SAME, size=(int, 1))
    export()
    declare("1.0", **SAME)
    assert [(each.rule, each.published) for each in review()] == [("went-back", "1.1")]


def test_a_contract_that_is_gone_is_missed_as_long_as_its_file_is_there() -> None:
    del CONTRACTS["toy.sold", "1"]
    [found] = review()
    assert (found.rule, found.breaks) == ("gone", ("toy.wrap",))
    file_of("toy.sold", "1.0").unlink()
    assert review() == []


def test_a_new_major_version_needs_an_upcaster_from_the_one_before() -> None:
    two = declare("2.0", price=(Decimal,), size=(int,))
    export()
    [found] = review()
    assert (found.rule, found.version, found.breaks) == ("missing-upcaster", "1.0", ("toy.wrap",))

    @upcast(ToySold, two)
    def measure(old: ToySold) -> Event:
        return two.model_validate({"toy_id": old.toy_id, "price": old.price, "size": 0})

    assert review() == []


def test_a_cast_is_between_versions_of_one_contract_in_the_right_direction() -> None:
    two = declare("2.0", price=(Decimal,))
    with pytest.raises(TypeError, match="is not newer than"):
        upcast(two, ToySold)

    class ToyLost(Event, type="toy.lost", version="1.0", aggregate="toy_id"):
        toy_id: str

    with pytest.raises(TypeError, match="not versions of one contract"):
        upcast(ToyLost, two)


def test_the_command_tells_people_and_machines() -> None:
    declare("1.0", price=(str,))
    code, words = check()
    assert code == 1
    assert words.startswith("toy.sold 1.0: A published version says something else now. BREAKING.\n")
    assert "It breaks toy.wrap, and whoever else reads it." in words
    code, found = check("--json")
    assert (code, json.loads(found)["findings"][0]["rule"]) == (1, "changed")
    code, found = check("--sarif")
    [run] = json.loads(found)["runs"]
    assert code == 1
    assert [each["id"] for each in run["tool"]["driver"]["rules"]] == list(RULES)
    [result] = run["results"]
    assert (result["ruleId"], result["level"]) == ("changed", "error")
    assert result["message"]["text"] == words.strip()


def test_a_finding_leads_to_the_class() -> None:
    CONTRACTS["toy.sold", "1"] = ToySold
    file_of("toy.sold", "1.0").unlink()
    [found] = review()
    assert found.place is not None
    file, line = found.place
    assert file == "eventbus/schemas/tests/test_review.py"
    assert Path(__file__).read_text().splitlines()[line - 1].strip().startswith("class ToySold(")


def test_a_path_leads_nowhere_else() -> None:
    assert published_schema("..", "../pyproject") is None
    assert published_schema("toy.sold", "1.0") == file_of("toy.sold", "1.0").read_bytes()
