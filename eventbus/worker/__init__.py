"""The worker: deliveries are handled once, failures are settled. All knowledge of Celery's inside is in here."""
