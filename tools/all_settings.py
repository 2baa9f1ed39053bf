"""Settings for the type checker: every application that there is."""

from tools.benchmarks.settings import *  # noqa: F403
from tools.chaos.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tools.benchmarks"]  # noqa: F405
