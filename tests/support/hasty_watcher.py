"""A command that watches, but evaluates the alarms every second and waits less for signs of life: what takes minutes
takes seconds."""

import sys

import django
from django.core.management import execute_from_command_line

django.setup()

from eventbus.heartbeats import processes  # noqa: E402  it has models
from eventbus.monitoring import alarms, watcher  # noqa: E402

alarms.EVERY, watcher.FIRST_LOOK, watcher.LOOK_EVERY, watcher.OUTAGE_AFTER = 1, 0.5, 0.5, 2.0
processes.ALIVE = 12
execute_from_command_line(["manage.py", *sys.argv[1:]])
