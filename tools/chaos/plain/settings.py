"""Settings of the baseline's processes."""

from config.settings import *  # noqa: F403
from config.settings import EVENTBUS_BROKER_URL, EVENTBUS_DECLARING_BROKER_URL, INSTALLED_APPS

# For the template database, which has the consumer that counts.
INSTALLED_APPS = [*INSTALLED_APPS, "tools.chaos"]
EVENTBUS_FAILPOINTS_ALLOWED = False
# It declares queues of its own.
EVENTBUS_BROKER_URL = EVENTBUS_DECLARING_BROKER_URL or EVENTBUS_BROKER_URL
CHAOS_BREAKAGE, CHAOS_CONFIRM_TIMEOUT = "", 0.0
ROOT_URLCONF = "tools.chaos.plain.urls"
