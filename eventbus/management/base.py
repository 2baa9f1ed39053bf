"""What the commands of the bus share: --json, and how they end where a server is away."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from eventbus.broker.publisher import SEND_ERRORS

#: A server that is away or lost. What a broken connection raises is an OSError, as is a file that can't be written.
UNREACHABLE: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, OSError, *SEND_ERRORS)


class BusCommand(BaseCommand):
    """A command that asks the servers. Exit 2 where one of them is away or the question makes no sense."""

    #: What to do where a server is away.
    advice: ClassVar[str] = "Are the servers running?"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines")

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except UNREACHABLE as error:
            message = f"{type(error).__name__}: {error}".strip().removesuffix(".")
            raise CommandError(f"{message}. {self.advice}", returncode=2) from error
