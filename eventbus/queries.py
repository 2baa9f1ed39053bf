"""Reads of the archive as plain data, for APIs and pages."""

import json
from decimal import Decimal
from typing import Any

from django.db import connection

from eventbus.contracts import WireFields, encode_envelope

_OF_AGGREGATE = """
SELECT id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, causation_id, user_id,
       data::text
FROM event WHERE aggregate_id = %s ORDER BY sequence
"""


def events_of(aggregate_id: object) -> list[dict[str, Any]]:
    """The envelopes of all that happened to this thing, in order, as they went on the wire. Amounts are Decimals."""
    with connection.cursor() as cursor:
        cursor.execute(_OF_AGGREGATE, [str(aggregate_id)])
        rows = cursor.fetchall()
    return [json.loads(encode_envelope(WireFields(*row)), parse_float=Decimal) for row in rows]
