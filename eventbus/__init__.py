"""The engine: contracts, outbox, relay, inbox, retries and dead letters over PostgreSQL, RabbitMQ and Celery."""
