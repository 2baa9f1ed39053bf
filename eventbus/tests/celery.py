"""A Celery application with nothing but what the bus asks for."""

from celery import Celery

from eventbus.conf import bus_settings
from eventbus.worker.celery_settings import CELERY

app = Celery("bus", broker=bus_settings.BROKER_URL)
app.conf.update(CELERY)
