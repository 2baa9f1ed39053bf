"""The worker command, but its circuit breaker probes every half second, and puts back soon what it holds: what takes
minutes takes seconds."""

import sys

from django.core.management import execute_from_command_line

from eventbus.worker import circuit_breaker

circuit_breaker.LONGEST_PAUSE = circuit_breaker.LONGEST_PATIENCE = 0.5
circuit_breaker.PUT_BACK_AFTER = 3.0
execute_from_command_line(["manage.py", "worker", *sys.argv[1:]])
