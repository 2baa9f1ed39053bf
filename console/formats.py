"""How pages write ids, numbers, money and stretches of time. One way for each."""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

#: What stands where there is no number.
NOTHING = "\N{EN DASH}"
#: Longer ids are cut in the middle.
MAX_ID = 20
#: Longer stretches in their two largest units.
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def short_id(value: object) -> str:
    """The first 8 characters of a UUID and its last 4: those made within a minute begin alike."""
    text = str(value)
    try:
        digits = UUID(text).hex
    except ValueError:
        return text if len(text) <= MAX_ID else f"{text[:12]}…{text[-4:]}"
    return f"{digits[:8]}…{digits[-4:]}"


def number(value: float | int | Decimal | None) -> str:
    """With thousands marked, and no more decimals than say something."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}".removesuffix(".0")
    return f"{value:,}"


def compact(value: float | int | None) -> str:
    """For narrow places: 12,345 is 12.3k."""
    if value is None:
        return NOTHING
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            unit = 1e3 if letter == "k" else limit
            return f"{value / unit:.1f}".removesuffix(".0") + letter
    return number(value)


def money(amount: Decimal, currency: str) -> str:
    return f"{amount:,} {currency}"


def duration(value: float | timedelta | None) -> str:
    """Seconds for people: 180 ms, 1.2 s, 2 min 5 s, 3 h 10 min, 4 d 2 h."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    rest, parts = round(seconds), []
    for unit, length in _UNITS:
        if rest >= length:
            parts.append(f"{rest // length} {unit}")
            rest %= length
    return " ".join(parts[:2])


def offset(moment: datetime, since: datetime) -> str:
    """How long after the beginning: "0" is the beginning."""
    seconds = (moment - since).total_seconds()
    return "0" if abs(seconds) < 0.0005 else f"+{duration(seconds)}" if seconds > 0 else duration(seconds)
