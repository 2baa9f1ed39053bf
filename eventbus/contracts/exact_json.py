"""JSON whose numbers keep their digits: money is a number on the wire and a Decimal in code."""

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

from eventbus.errors import RepeatedName, UnsafeJSON

#: The largest power of ten that a number may have, either way, and how many characters it may be written in.
MAX_EXPONENT, MAX_CHARS = 100, 1_000

#: Writes the digits as they are, never as a float.
encode_json = msgspec.json.Encoder(decimal_format="number").encode
#: The same, with the names of each object in one order.
encode_sorted_json = msgspec.json.Encoder(decimal_format="number", order="sorted").encode
#: Reads what the archive wrote out: quick, and trusting that nothing in it is meant to do harm.
decode_archived_json = msgspec.json.Decoder(float_hook=Decimal).decode


def decode_json(body: bytes | str) -> Any:
    """Strict JSON, in UTF-8: numbers with a fraction are Decimals, and there is no NaN.

    Raises UnsafeJSON for what the grammar allows, or Python's parser does, and we don't; any other ValueError or an
    ArithmeticError for what is not JSON, and RecursionError for what is nested too deeply; RepeatedName for an
    object that has a name twice.
    """
    text = body if isinstance(body, str) else body.decode()
    return _STRICT.decode(text)


def is_storable(value: Any) -> bool:
    """Whether PostgreSQL can hold all text in a JSON value: not NUL, and not half of a surrogate pair."""
    rest = [value]
    while rest:
        match rest.pop():
            case str() as text:
                if "\x00" in text or _HALF.search(text):
                    return False
            case dict() as names:
                rest += names
                rest += names.values()
            case list() as items:
                rest += items
    return True


def _refuse_constant(name: str) -> None:
    raise UnsafeJSON(f"{name} is not a JSON number.")


def _number(text: str) -> Decimal:
    # Python would write out 1E+999999999 digit by digit, and nothing could stop it; PostgreSQL has a limit of its own.
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT or len(text) > MAX_CHARS:
        raise UnsafeJSON("a number has too large an exponent or too many digits.")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedName("a name occurs twice in one object.")
    return found


_HALF = re.compile("[\ud800-\udfff]")
# Made once: json.loads() makes one for each call.
_STRICT = json.JSONDecoder(parse_float=_number, parse_constant=_refuse_constant, object_pairs_hook=_object)
