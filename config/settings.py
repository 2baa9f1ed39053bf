"""Settings, driven by the environment (12-factor). `.env.example` lists every variable.

NAME_FILE names a file that holds NAME. What is not in the environment is looked up in `.env`, then in what
`script/services` wrote for its private servers.
"""

import os
import warnings
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from config.database import read_database_url, without_session
from config.environment import env
from config.logs import configure_logging

BASE_DIR = Path(__file__).resolve().parent.parent
given = set(os.environ)
env.read_env(BASE_DIR / ".env")
# `NAME=` in the file means "not set", so that it can list every name.
for name in set(os.environ) - given:
    if not os.environ[name]:
        del os.environ[name]
LOCAL_DIR = BASE_DIR / env.str("LOCAL_DIR", default=".local")
env.read_env(LOCAL_DIR / "env")

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])
PORT = env.int("PORT", default=8000)
EVENTBUS_BROKER_URL = env.str("BROKER_URL")
# Who declares exchanges and queues, where the user above may not.
EVENTBUS_DECLARING_BROKER_URL = env.str("DECLARING_BROKER_URL", default="")
EVENTBUS_MANAGEMENT_URL = env.str("MANAGEMENT_URL", default="")
EVENTBUS_EXCHANGE = "orders"
EVENTBUS_CELERY_APP = "config.celery.app"
EVENTBUS_SCHEMA_URL = "/api/v1/schemas"
EVENTBUS_SCHEMA_DIR = BASE_DIR / "schemas"
# Events that are still recorded in an older major version, as in `order.created=1`: docs/contracts.md.
EVENTBUS_RECORD_AS = env.pairs("RECORD_AS")
EVENTBUS_USER_AGENT = "order-pipeline"
EVENTBUS_CODE_ROOT = BASE_DIR
# What we ask of PostgreSQL where DATABASE_URL does not say otherwise.
DATABASE = dict(  # noqa: C408
    ENGINE="eventbus.db.postgresql",
    # A connection lives as long as its thread; one that broke is dropped after the request that noticed.
    CONN_MAX_AGE=None,
    OPTIONS={
        # The hot statements are large: PostgreSQL plans each once per connection and not once per request.
        "server_side_binding": True,
        "prepare_threshold": 3,
        "application_name": env.str("APPLICATION_NAME", default="pipeline"),
        # Whose process was killed, or lost its network, keeps no locks: its query is ended, and then its session.
        "options": "-c lock_timeout=20s -c idle_in_transaction_session_timeout=120s "
        "-c client_connection_check_interval=1s "
        "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
    },
)
DATABASES = {"default": read_database_url("DATABASE_URL", env.str("DATABASE_URL"), DATABASE)}
EVENTBUS_POOLED_DATABASE = None
if direct := env.str("DATABASE_DIRECT_URL", default=""):
    # Then the other one leads through a transaction pooler, where web and workers can do without what a session keeps.
    EVENTBUS_POOLED_DATABASE = read_database_url("DATABASE_URL", env.str("DATABASE_URL"), without_session(DATABASE))
    DATABASES = {"default": read_database_url("DATABASE_DIRECT_URL", direct, DATABASE)}
EVENTBUS_OWNER_DATABASE = None
if owner := env.str("OWNER_DATABASE_URL", default=""):
    # Then the other one may not make or drop a table.
    EVENTBUS_OWNER_DATABASE = read_database_url("OWNER_DATABASE_URL", owner, DATABASE)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "eventbus",
    "api",
    "orders",
    "inventory",
    "notifications",
    "shipping",
    "analytics",
    "webhooks",
    "console",
    # Last: its files may import what the others declare.
    "consumers",
]
MIDDLEWARE = [
    "config.health.ProbesMiddleware",
    "api.metrics.RequestMetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "eventbus.recording.correlation.CorrelationMiddleware",
    "api.whole_requests.UnreadMiddleware",
    "api.lockout.LockoutMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.pages.choices",
            ],
        },
    },
]
# Who is shown messages has logged in, and so has a session. The default makes two storages for every request, an order
# too, one of them a signed cookie.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# The collected files exist only in an image; elsewhere WhiteNoise serves them from the apps.
WHITENOISE_USE_FINDERS = not STATIC_ROOT.is_dir()
warnings.filterwarnings("ignore", message="No directory at", module="django.core.handlers.base")

if not DEBUG and env.bool("HTTPS", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["api.authentication.ChannelAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["api.strict_json.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["api.strict_json.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "api.negotiation.ContentNegotiation",
    "DEFAULT_THROTTLE_CLASSES": ["api.throttling.ChannelThrottle"],
    "EXCEPTION_HANDLER": "api.problems.problem_response",
    "UNAUTHENTICATED_USER": None,
    # Otherwise `?format=` picks a renderer and hides a misspelt filter.
    "URL_FORMAT_OVERRIDE": None,
}
REST_KNOX = {
    "AUTH_HEADER_PREFIX": "Bearer",
    "TOKEN_TTL": timedelta(days=env.int("TOKEN_DAYS", default=90)),
    "AUTO_REFRESH": False,
}
AUTHENTICATION_BACKENDS = ["api.lockout.GuardedBackend"]
# Requests a second that each caller may make, and twice as many at once; 0: as many as it likes.
CHANNEL_RATE_LIMIT = env.int("CHANNEL_RATE_LIMIT", default=1_000)
# Who has it may read /metrics. Empty: nobody may.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000

email = env.email_url("EMAIL_URL", default="smtp://127.0.0.1:25")
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST = email["EMAIL_HOST"]
EMAIL_PORT = email["EMAIL_PORT"]
EMAIL_HOST_USER = email["EMAIL_HOST_USER"]
EMAIL_HOST_PASSWORD = email["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS = email.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = email.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 8
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Shop <orders@shop.example>")

# Pool processes per consumer group at most, however much concurrency its consumers declare.
EVENTBUS_WORKER_PROCESSES = env.int("WORKER_PROCESSES", default=2)
# Processes of the web, and threads in each: as many connections to the database, and one more per process.
EVENTBUS_WEB_PROCESSES = env.int("WEB_PROCESSES", default=2)
EVENTBUS_WEB_THREADS = env.int("WEB_THREADS", default=4)
# Those of the Procfile that are ours and not the bus's.
EVENTBUS_OWN_PROCESSES = ["deliver_webhooks"]
# An order that is still CREATED after this many seconds is cancelled.
ORDER_DEADLINE = timedelta(seconds=env.int("ORDER_DEADLINE", default=900))
# By what days analytics counts: after a change build its read models again.
SHOP_TIME_ZONE = ZoneInfo(env.str("SHOP_TIME_ZONE", default="UTC"))
# What dead letters say of the code that failed; the image sets it.
EVENTBUS_CODE_VERSION = env.str("CODE_VERSION", default="unknown")
# Each process touches a file here for as long as its work goes round: `script/alive` looks at its age.
EVENTBUS_HEARTBEAT_DIR = LOCAL_DIR / "heartbeats"
# Fernet keys for the payloads of dead letters: the first writes, all read. None: one derived from SECRET_KEY.
EVENTBUS_DEAD_LETTER_KEYS = env.list("DEAD_LETTER_KEYS", default=[])
# The same for the secrets that webhooks are signed with.
WEBHOOK_KEYS = env.list("WEBHOOK_KEYS", default=[])
# Networks that webhooks may lead to beside the open internet, such as 10.1.0.0/16; without TLS, too.
WEBHOOK_ALLOWED_NETWORKS = env.list("WEBHOOK_ALLOWED_NETWORKS", default=[])
EVENTBUS_DEAD_LETTER_DAYS = env.int("DEAD_LETTER_DAYS", default=14)
# How long the archive keeps events, and the inbox what became of them; whole months go.
EVENTBUS_ARCHIVE_DAYS = env.int("ARCHIVE_DAYS", default=365)
# A consumer that has heard nothing for this many days is marked as quiet.
EVENTBUS_QUIET_DAYS = env.int("QUIET_DAYS", default=7)
# Where each change of an alarm's state is reported. Empty: nowhere.
EVENTBUS_ALARM_EMAIL = env.list("ALARM_EMAIL", default=[])
EVENTBUS_ALARM_WEBHOOK_URL = env.str("ALARM_WEBHOOK_URL", default="")
# Intake answers 503 when the outbox is this far behind: by the age of its oldest event, or by its length.
EVENTBUS_OUTBOX_LIMIT_SECONDS = env.int("OUTBOX_LIMIT_SECONDS", default=3_600)
EVENTBUS_OUTBOX_LIMIT_ROWS = env.int("OUTBOX_LIMIT_ROWS", default=1_000_000)
# RabbitMQ's consumer_timeout, in seconds, for `manage.py check`: the broker reports it to nobody.
EVENTBUS_BROKER_CONSUMER_TIMEOUT = env.int("BROKER_CONSUMER_TIMEOUT", default=1_800)
# Tests kill processes at named points; anywhere else a failpoint is refused.
EVENTBUS_FAILPOINTS_ALLOWED = False

LOGGING_CONFIG = None
configure_logging(
    format=env.str("LOG_FORMAT", default="console" if DEBUG else "json"), level=env.str("LOG_LEVEL", "INFO")
)
