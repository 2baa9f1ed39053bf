"""The WSGI application, for granian or any other WSGI server."""

import http.client
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

from django.conf import settings  # noqa: E402  settings are there from here on
from django.db import connection  # noqa: E402

from eventbus.db.pooler import go_through_pooler  # noqa: E402
from eventbus.heartbeats import beating  # noqa: E402

# Seconds that the database may take for any answer to a request, even where it is at work on it. No page takes as long,
# and no gateway waits longer.
connection.settings_dict["ANSWER_WITHIN"] = 30


def answers() -> bool:
    """Whether requests are answered: what the answer is does not matter."""
    connection = http.client.HTTPConnection("127.0.0.1", settings.PORT, timeout=5)
    try:
        connection.request("GET", "/health/live")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


go_through_pooler()
# It has no loop of its own that could turn, so it asks itself.
beating.begin("web", works=answers)
