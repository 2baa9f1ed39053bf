import inspect
import pkgutil
from collections import Counter
from collections.abc import Iterator
from importlib import import_module

import eventbus
from eventbus.errors import EventbusError

NOT_THE_BUS = {"tests", "migrations", "conftest"}


def errors() -> Iterator[type[BaseException]]:
    """Every exception class that a module of the bus defines."""
    for module in pkgutil.walk_packages(eventbus.__path__, "eventbus."):
        if NOT_THE_BUS.isdisjoint(module.name.split(".")):
            for _, found in inspect.getmembers(import_module(module.name), inspect.isclass):
                if issubclass(found, BaseException) and found.__module__ == module.name:
                    yield found


def test_whoever_catches_the_base_error_catches_all_that_the_bus_raises() -> None:
    strangers = [found for found in errors() if not issubclass(found, EventbusError)]
    assert strangers == []


def test_an_error_says_by_its_name_alone_what_happened() -> None:
    names = Counter(found.__name__ for found in errors())
    assert len(names) > 15
    assert [name for name, times in names.items() if times > 1] == []
    assert {"Refused", "Conflict", "Busy", "Wrong", "Error"}.isdisjoint(names)
