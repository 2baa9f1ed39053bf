"""What makes two failures alike: the consumer, the error's class, and the place in our own code."""

import traceback
from hashlib import sha256
from pathlib import Path

from django.conf import settings

ENGINE = "eventbus/"
FOREIGN = ("site-packages/", "dist-packages/")


def place_of(error: Exception) -> str:
    """`file:function` of the innermost frame in our code, the apps' before the engine's; "" where there is none.

    Without line numbers: an edit further up must not make a new group of an old failure.
    """
    frames = [(path, frame.name) for frame in traceback.extract_tb(error.__traceback__) if (path := _own(frame))]
    chosen = [frame for frame in frames if not frame[0].startswith(ENGINE)] or frames
    place = ":".join(chosen[-1]) if chosen else ""
    # All that can't be read fails in the same few lines: the reason tells them apart.
    reason = getattr(error, "reason", None)
    return f"{place} ({reason})" if reason else place


def _own(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    if not path.is_relative_to(settings.BASE_DIR):
        return ""
    relative = path.relative_to(settings.BASE_DIR).as_posix()
    return "" if any(part in relative for part in FOREIGN) else relative


def fingerprint(consumer: str, error_class: str, place: str) -> str:
    """The name of the group."""
    return sha256("\n".join((consumer, error_class, place)).encode()).hexdigest()[:12]
