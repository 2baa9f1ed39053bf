"""The relay command, but one that never looks by itself: it publishes only when it is woken."""

from django.core.management import execute_from_command_line

from eventbus.relay import relay

relay.IDLE_WAIT = 3600.0
execute_from_command_line(["manage.py", "relay"])
