import json
from typing import Any

from eventbus.documents import asyncapi
from eventbus.management.base import BusCommand


class Command(BusCommand):
    help = (
        "Prints the events as an AsyncAPI 3.0 document: what is published where, in which form, and who receives it. "
        "Made of the declarations; needs no server. `/asyncapi.json` serves the same."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(asyncapi(), indent=None if options["json"] else 2, ensure_ascii=False))
