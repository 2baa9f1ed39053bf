"""Production's settings, and the plain ways beside the real ones. Never used outside `script/bench`."""

from config.environment import env
from config.settings import *  # noqa: F403
from config.settings import EVENTBUS_BROKER_URL, EVENTBUS_DECLARING_BROKER_URL, INSTALLED_APPS

# Last, so that the consumers are declared when it is ready.
INSTALLED_APPS = [*INSTALLED_APPS, "tools.benchmarks"]
# The plain ways declare queues of their own.
EVENTBUS_BROKER_URL = EVENTBUS_DECLARING_BROKER_URL or EVENTBUS_BROKER_URL
ROOT_URLCONF = "tools.benchmarks.urls"
# One channel asks as often as it can, and is counted as any other.
CHANNEL_RATE_LIMIT = 100_000
# Replaces what the consumers declare: 1 shows what they would do without batches.
BENCH_BATCH = env.int("BENCH_BATCH", default=0)
