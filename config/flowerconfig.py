"""What Flower reads at its start (`--conf`). FLOWER_… in the environment counts where a name is not set here."""

import os

from flower.views.monitor import Metrics
from tornado.web import authenticated

from config.environment import env

# It would show its numbers to anybody: task and worker names, and how much there is to do.
Metrics.get = authenticated(Metrics.get)

# Tasks that it remembers. Each takes some 3 kB, and Flower's own limit is 100,000.
if "FLOWER_MAX_TASKS" not in os.environ:
    max_tasks = 10_000
# A worker that is started again has another name.
if "FLOWER_MAX_WORKERS" not in os.environ:
    max_workers = 100

# Its log-in and the broker's page, as all settings are given: they may be files.
basic_auth = env.list("FLOWER_BASIC_AUTH", default=[])
if "FLOWER_BROKER_API" not in os.environ and (management := env.str("MANAGEMENT_URL", default="")):
    broker_api = f"{management.rstrip('/')}/api/"
