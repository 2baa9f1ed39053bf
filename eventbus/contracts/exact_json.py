"""JSON whose numbers keep their digits: money is a number on the wire and a Decimal in code."""

import json
from decimal import Decimal
from typing import Any

import msgspec

#: The largest power of ten that a number may have, either way.
MAX_EXPONENT = 100

#: Money is a JSON number on the wire and a Decimal in code: msgspec writes the digits as they are, never as a float.
encode_json = msgspec.json.Encoder(decimal_format="number").encode

#: Reads what the archive wrote out: quick, and trusting that nothing in it is meant to do harm.
decode_archived_json = msgspec.json.Decoder(float_hook=Decimal).decode


def decode_json(text: bytes | str) -> Any:
    """JSON that anybody may have written. Raises ValueError or RecursionError."""
    return json.loads(text, parse_float=_number, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> Decimal:
    # Python would write out 1E+999999999 digit by digit, and nothing could stop it.
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"a number with an exponent of {number.adjusted()}")
    return number
