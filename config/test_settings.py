"""Settings of the test suite: the real servers of `script/services`, and failpoints allowed."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES, EVENTBUS_OWNER_DATABASE

EVENTBUS_FAILPOINTS_ALLOWED = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Tests make databases of their own, and tables in them.
DATABASES = {"default": EVENTBUS_OWNER_DATABASE or DATABASES["default"]}
EVENTBUS_OWNER_DATABASE = None
# Otherwise a first request now and then would have a statement more than the others.
CHANNEL_RATE_LIMIT = 0
