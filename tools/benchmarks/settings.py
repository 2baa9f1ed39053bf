"""Production's settings, and the plain ways beside the real ones. Never used outside `script/bench`."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS, env

# Last, so that the consumers are declared when it is ready.
INSTALLED_APPS = [*INSTALLED_APPS, "tools.benchmarks"]
ROOT_URLCONF = "tools.benchmarks.urls"
# Replaces what the consumers declare: 1 shows what they would do without batches.
BENCH_BATCH = env.int("BENCH_BATCH", default=0)
