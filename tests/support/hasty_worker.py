"""The worker command, but its circuit breaker probes every half second: what takes minutes takes seconds."""

import sys

from django.core.management import execute_from_command_line

from eventbus.worker import circuit_breaker

circuit_breaker.LONGEST_PAUSE = 0.5
execute_from_command_line(["manage.py", "worker", *sys.argv[1:]])
