"""Settings of the test suite: the real servers of `script/services`, and failpoints allowed."""

from config.settings import *  # noqa: F403

EVENTBUS_FAILPOINTS_ALLOWED = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
