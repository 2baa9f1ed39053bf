"""Settings of the bus's own tests: Django, the bus, and nothing else of this repository."""

import sys
from pathlib import Path

import environ
import structlog

env = environ.Env()
PROJECT = Path(__file__).resolve().parents[2]
environ.Env.read_env(PROJECT / env.str("LOCAL_DIR", default=".local") / "env")

SECRET_KEY = "only for tests"
# Tests make databases of their own, and tables in them.
OWNER = "OWNER_DATABASE_URL" if env.str("OWNER_DATABASE_URL", default="") else "DATABASE_URL"
DATABASES = {"default": env.db_url(OWNER, engine="eventbus.db.postgresql")}
DATABASES["default"]["OPTIONS"] = {
    "server_side_binding": True,
    "application_name": "tests of the bus",
    "options": "-c lock_timeout=20s -c client_connection_check_interval=1s",
} | DATABASES["default"].get("OPTIONS", {})
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "eventbus",
]
MIDDLEWARE = [
    "eventbus.recording.correlation.CorrelationMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "eventbus.tests.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EVENTBUS_BROKER_URL = env.str("BROKER_URL")
EVENTBUS_DECLARING_BROKER_URL = env.str("DECLARING_BROKER_URL", default="")
EVENTBUS_CODE_ROOT = PROJECT
EVENTBUS_CELERY_APP = "eventbus.tests.celery.app"
EVENTBUS_FAILPOINTS_ALLOWED = True

# The commands' own output is read by the tests.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
