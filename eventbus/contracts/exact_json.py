"""JSON whose numbers keep their digits: money is a number on the wire and a Decimal in code."""

from decimal import Decimal

import msgspec

#: The largest power of ten that a number may have, either way.
MAX_EXPONENT = 100

#: Money is a JSON number on the wire and a Decimal in code: msgspec writes the digits as they are, never as a float.
_encoder = msgspec.json.Encoder(decimal_format="number")

encode_json = _encoder.encode


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> Decimal:
    # Python would write out 1E+999999999 digit by digit, and nothing could stop it.
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"a number with an exponent of {number.adjusted()}")
    return number
