"""Where in our own code an error came from."""

import traceback
from pathlib import Path

from eventbus.conf import bus_settings

ENGINE = "eventbus/"

FOREIGN = ("site-packages/", "dist-packages/")


def place_of(error: Exception) -> str:
    """`file:function` of the innermost frame in our code, the apps' before the engine's; "" where there is none.

    Without line numbers: an edit further up must not make a new group of an old failure.
    """
    frames = [(path, frame.name) for frame in traceback.extract_tb(error.__traceback__) if (path := _own(frame))]
    chosen = [frame for frame in frames if not frame[0].startswith(ENGINE)] or frames
    place = ":".join(chosen[-1]) if chosen else ""
    # All that can't be read fails in the same few lines: they differ by the reason.
    reason = getattr(error, "reason", None)
    return f"{place} ({reason})" if reason else place


def _own(frame: traceback.FrameSummary) -> str:
    path, root = Path(frame.filename), bus_settings.CODE_ROOT.absolute()
    if not path.is_relative_to(root):
        return ""
    relative = path.relative_to(root).as_posix()
    return "" if any(part in relative for part in FOREIGN) else relative
