"""RabbitMQ: connections, confirmed publishing, exchanges and queues, and events as messages."""
