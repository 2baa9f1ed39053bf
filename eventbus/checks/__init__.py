"""System checks: what Celery and RabbitMQ get wrong by default, or a change of the declarations would.

`manage.py check` runs those that need no server, and so does each worker at its start: it refuses to run with an error.
`manage.py check --deploy --tag bus` asks broker and database too.
"""

from eventbus.checks import broker, celery, connections, contracts, dead_letters, deployed, granted, projections

__all__ = ["broker", "celery", "connections", "contracts", "dead_letters", "deployed", "granted", "projections"]
