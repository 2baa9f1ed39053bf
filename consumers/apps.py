from django.apps import AppConfig


class ConsumersConfig(AppConfig):
    """All files of this folder together: one app, one worker process, one line of migrations."""

    name = "consumers"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Small consumers"
