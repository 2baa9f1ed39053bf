"""Reads of the archive as plain data, for APIs and pages."""

import json
from decimal import Decimal
from typing import Any

from django.db import connection

from eventbus.contracts.codec import encode_envelope
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields

_OF_AGGREGATE = f"""
SELECT {WIRE_COLUMNS}
FROM event e WHERE aggregate_id = %s ORDER BY sequence
"""


def events_of(aggregate_id: object) -> list[dict[str, Any]]:
    """The envelopes of all that happened to this thing, in order, as they went on the wire. Amounts are Decimals."""
    with connection.cursor() as cursor:
        cursor.execute(_OF_AGGREGATE, [str(aggregate_id)])
        rows = cursor.fetchall()
    return [json.loads(encode_envelope(WireFields(*row)), parse_float=Decimal) for row in rows]
