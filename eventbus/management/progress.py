"""The progress bar of the commands."""

import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

#: For a bar whose tasks have a field `note`: whatever is to be said of them now.
NOTE = TextColumn("{task.fields[note]}")


def progress_bar(*more: ProgressColumn, quiet: bool) -> Progress:
    """A bar on standard error, where somebody watches. It is named by its task's description."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        *more,
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )
