"""Settings of a worker whose folder of small consumers is empty."""

from tests.live_settings import *  # noqa: F403
from tests.live_settings import INSTALLED_APPS as ALL

INSTALLED_APPS = [app for app in ALL if app != "consumers"]
