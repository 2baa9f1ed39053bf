"""Settings of the processes that the tests start: the product, and consumers that misbehave when told to."""

from config.test_settings import *  # noqa: F403
from config.test_settings import INSTALLED_APPS as PRODUCT

INSTALLED_APPS = [*PRODUCT, "tests.testapp"]
