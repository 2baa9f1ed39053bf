"""The lock of the one relay that has nothing to do: who records an event finds it taken, and wakes that relay."""

from eventbus.db.locks import AdvisoryLock
from eventbus.retries.sending import SECONDS_TO_NEXT

# An idle relay refuses others both locks. Who has recorded an event shares the second, which ends with this statement.
TAKE = f"""
SELECT pg_try_advisory_lock({AdvisoryLock.IDLE_RELAY}) AS taken,
       NOT pg_try_advisory_xact_lock_shared({AdvisoryLock.IDLE_RELAY}) AS another_is_idle
"""
GIVE_BACK = f"SELECT pg_advisory_unlock({AdvisoryLock.IDLE_RELAY})"
#: Whether there are events after all, and how long the next retry has time: asked by whoever has taken the lock.
WHAT_WAITS = f"SELECT EXISTS (SELECT FROM outbox WHERE blocked_key IS NULL), {SECONDS_TO_NEXT}"
