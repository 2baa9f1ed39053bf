"""The settings of the bus, each with its default. In Django's settings they carry the prefix `EVENTBUS_`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

PREFIX = "EVENTBUS_"


class BusSettings:
    """Typed access to `settings.EVENTBUS_…`: read at each use, so that a test's override holds."""

    #: Address of RabbitMQ, `amqp://` or `amqps://`; its parameters stand in `eventbus.broker.address`.
    BROKER_URL: str = "amqp://guest:guest@127.0.0.1:5672//"
    #: The same broker, with a user that may declare exchanges and queues, for the processes that do. Empty: BROKER_URL.
    DECLARING_BROKER_URL: str = ""
    #: The way to PostgreSQL through a transaction pooler, as an entry of DATABASES: web and workers take it. None:
    #: there is no pooler.
    POOLED_DATABASE: Mapping[str, Any] | None = None
    #: The database with the role that owns the tables, as an entry of DATABASES, for what makes and drops them. None:
    #: the role of DATABASES owns them.
    OWNER_DATABASE: Mapping[str, Any] | None = None
    #: Address of RabbitMQ's management API, log-in included: names full queues that nobody declares. Empty: not asked.
    MANAGEMENT_URL: str = ""
    #: The topic exchange. Its name begins those of the bus's other exchanges.
    EXCHANGE: str = "events"
    #: Where the project's Celery application is, as a dotted path.
    CELERY_APP: str = "celery.current_app"
    #: The Django app whose files are the consumers that need no app. One worker process runs them all.
    SMALL_CONSUMERS: str = "consumers"
    #: Where the JSON Schemas of contracts are served: `<this>/<event type>/<version>`.
    SCHEMA_URL: str = "/schemas"
    #: The folder of the published ones, `<event type>/<version>.json`.
    SCHEMA_DIR: Path = Path("schemas")
    #: By event type, the older major version in which it is recorded while code is at work that knows no newer one.
    RECORD_AS: Mapping[str, str] = {}
    #: How the bus introduces itself to an alarm's webhook.
    USER_AGENT: str = "eventbus"
    #: The project's folder: a failure's place in the code is given relative to it.
    CODE_ROOT: Path = Path()
    #: What dead letters say of the code that failed.
    CODE_VERSION: str = "unknown"
    #: Each process touches a file here, called after its kind, for as long as its work goes round. None: no files.
    HEARTBEAT_DIR: Path | None = None
    #: Pool processes per consumer group at most, however much concurrency its consumers declare.
    WORKER_PROCESSES: int = 2
    #: The web's processes, and the threads in each that answer requests: for the budget of connections.
    WEB_PROCESSES: int = 2
    WEB_THREADS: int = 4
    #: Kinds of processes that the project has beside the bus's (`eventbus.processes`): they are missed when none runs.
    OWN_PROCESSES: Sequence[str] = ()
    #: RabbitMQ's `consumer_timeout`, in seconds, for `manage.py check`: the broker can't be asked.
    BROKER_CONSUMER_TIMEOUT: int = 1_800
    #: Fernet keys for the payloads of dead letters and waiting retries: the first writes, all read. None: one that is
    #: derived from SECRET_KEY.
    DEAD_LETTER_KEYS: Sequence[str] = ()
    #: Days that dead letters are kept.
    DEAD_LETTER_DAYS: int = 14
    #: Days that the archive keeps events, and the inbox what became of them; whole months go.
    ARCHIVE_DAYS: int = 365
    #: A consumer that has handled nothing for this many days is marked as quiet.
    QUIET_DAYS: int = 7
    #: Who gets a mail, and which address a POST, at each change of an alarm's state. Empty: nobody.
    ALARM_EMAIL: Sequence[str] = ()
    ALARM_WEBHOOK_URL: str = ""
    #: Admission is refused when the outbox is this far behind: by the age of its oldest event, or by its length.
    OUTBOX_LIMIT_SECONDS: int = 3_600
    OUTBOX_LIMIT_ROWS: int = 1_000_000
    #: Tests kill processes at named points; anywhere else a failpoint is refused.
    FAILPOINTS_ALLOWED: bool = False

    def __getattribute__(self, name: str) -> Any:
        default = object.__getattribute__(self, name)
        return getattr(settings, PREFIX + name, default) if name.isupper() else default


bus_settings = BusSettings()
