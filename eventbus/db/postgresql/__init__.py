"""Django's PostgreSQL backend with bounded waits. In Django's settings: `"ENGINE": "eventbus.db.postgresql"`."""
