"""A Celery application with nothing but what the bus asks for."""

from celery import Celery

from eventbus.worker.celery_settings import CELERY

app = Celery("bus")
app.conf.update(CELERY)
