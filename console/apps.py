from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Pages for the people who run the shop and the pipeline.

    It has no tables: it reads what the apps and the bus tell, and calls their services.
    """

    name = "console"
