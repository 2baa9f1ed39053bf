"""Structured logs: JSON in production, readable in a terminal. The bus binds the ids that each line carries."""

import logging.config

import structlog
from structlog.tracebacks import ExceptionDictTransformer

# The local variables of a frame are customers' data and whole events.
WITHOUT_LOCALS = ExceptionDictTransformer(show_locals=False)


def configure_logging(*, format: str, level: str) -> None:
    """Send structlog and the standard library's loggers through one formatter.

    `format` is `json` or `console`. Context variables (correlation, event and order ids) are on every line of both.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(allow=[]),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(WITHOUT_LOCALS), structlog.processors.JSONRenderer()]
        if format == "json"
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "default": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
                    "foreign_pre_chain": shared,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "default"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # Lines per task from Celery itself would say again what the bus says with its ids.
                "celery.worker.strategy": {"level": "WARNING"},
                "celery.app.trace": {"level": "CRITICAL"},
                "amqp": {"level": "WARNING"},
                # They would write down the addresses of partners' webhooks, and some have a password in them.
                "httpx": {"level": "WARNING"},
                "httpcore": {"level": "WARNING"},
                "django.server": {"level": "WARNING"},
                # The middleware's line has the status already.
                "django.request": {"level": "ERROR"},
            },
        }
    )
