"""The ASGI application: what the process `web` serves."""

import gc

from api.whole_requests import WholeRequests
from config.wsgi import application as wsgi

#: Requests that a process works on at once; each thread keeps a database connection.
THREADS = 4

application = WholeRequests(wsgi, threads=THREADS)

# What is loaded by now stays for good: the garbage collector need not look through it again and again.
gc.freeze()
