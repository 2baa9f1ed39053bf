from dataclasses import replace

from django.apps import AppConfig
from django.conf import settings

from eventbus.declaration import CONSUMERS


class BenchmarksConfig(AppConfig):
    """The baselines' rows, and consumers that only the benchmarks know."""

    name = "tools.benchmarks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if settings.BENCH_BATCH:
            for name, declared in CONSUMERS.items():
                CONSUMERS[name] = replace(declared, batch=settings.BENCH_BATCH)
