"""The environment, as settings read it, with django-environ."""

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping


class Values(FileAwareMapping):  # type: ignore[misc]  # django-environ is not typed
    """What is set. A NAME_FILE names a file that holds NAME, and counts before it. A value is what is written there."""

    def __getitem__(self, key: str) -> str:
        # Otherwise a value that begins with `$` would be taken for the name of another one. A file ends its line.
        value: str = super().__getitem__(key).rstrip("\r\n").replace("$", r"\$")
        if not value:
            raise KeyError(key)
        return value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """A variable that is set to nothing stays so: it hides what a file says."""
        return self.env.setdefault(key, default)


class Environment(environ.Env):  # type: ignore[misc]
    """Reads Values; `NAME=` means that it is not set."""

    ENVIRON = Values(cache=False)

    def __init__(self) -> None:
        super().__init__()
        self.escape_proxy = True

    def pairs(self, name: str) -> dict[str, str]:
        """`key=value,key=value`. Raises ImproperlyConfigured."""
        listed: list[str] = self.list(name, default=[])
        if wrong := [each for each in listed if "=" not in each]:
            raise ImproperlyConfigured(f"{name} is a list of key=value, with commas between them, not {wrong[0]!r}.")
        return dict(each.split("=", 1) for each in listed)


env = Environment()
