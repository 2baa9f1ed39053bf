"""The ASGI application: what the process `web` serves."""

import gc

from django.conf import settings

from api.whole_requests import WholeRequests
from config.wsgi import application as wsgi

# So many requests a process works on at once; each thread keeps a database connection.
application = WholeRequests(wsgi, threads=settings.EVENTBUS_WEB_THREADS)

# What is loaded by now stays for good: the garbage collector need not look through it again and again.
gc.freeze()
