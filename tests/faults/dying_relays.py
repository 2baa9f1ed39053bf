"""Starts relays one after the other, each of which must die by the failpoint of the environment; prints how many did.

A fork is a process of its own with connections of its own, without the second that a start of Django takes.
"""

import os
import signal
import sys

import django
from django.conf import settings

django.setup()

from eventbus.relay.relay import Relay  # noqa: E402


def main(number: int, batch: int) -> None:
    killed = 0
    for _ in range(number):
        child = os.fork()
        if child == 0:
            Relay(settings.EVENTBUS_BROKER_URL, batch=batch).publish_batch()
            os._exit(1)
        _, status = os.waitpid(child, 0)
        killed += os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    print(killed)


main(int(sys.argv[1]), int(sys.argv[2]))
