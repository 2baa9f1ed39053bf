"""What the commands of the bus share: --json, and how they end where a server is away."""

import os
import select
import signal
import sys
from argparse import ArgumentParser
from typing import Any, ClassVar, NoReturn

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from eventbus.broker.publisher import SEND_ERRORS
from eventbus.db.owner import become_owner

#: A server that is away or lost. What a broken connection raises is an OSError, as is a file that can't be written.
UNREACHABLE: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, OSError, *SEND_ERRORS)


def nobody_reads() -> bool:
    """Whether whoever read our output has ended, such as `head`. A server's connection may be what broke, too."""
    watcher = select.poll()
    watcher.register(1, select.POLLOUT)
    return any(event & select.POLLERR for _, event in watcher.poll(0))


def leave_quietly() -> NoReturn:
    """End as a program does that the shell ends for this reason (SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(128 + signal.SIGPIPE)


class BusCommand(BaseCommand):
    """A command that asks the servers. Exit 2 where one of them is away or the question makes no sense."""

    #: Whether it makes or drops tables, and so works as their owner.
    works_as_owner: ClassVar[bool] = False
    #: What to do where a server is away.
    advice: ClassVar[str] = "Are the servers running?"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines")

    def execute(self, *args: Any, **options: Any) -> Any:
        if self.works_as_owner:
            become_owner()
        try:
            done = super().execute(*args, **options)
            # What is left over would be written when Python ends, where nobody catches anything.
            sys.stdout.flush()
            return done
        except UNREACHABLE as error:
            if isinstance(error, BrokenPipeError) and nobody_reads():
                leave_quietly()
            message = f"{type(error).__name__}: {error}".strip().removesuffix(".")
            raise CommandError(f"{message}. {self.advice}", returncode=2) from error
