"""The lock of the one relay that has nothing to do: who records an event finds it taken, and wakes that relay."""

from eventbus.db.locks import AdvisoryLock

# An idle relay refuses others both locks. Who has recorded an event shares the second, which ends with this statement.
TAKE = f"""
SELECT pg_try_advisory_lock({AdvisoryLock.IDLE_RELAY}) AS taken,
       NOT pg_try_advisory_xact_lock_shared({AdvisoryLock.IDLE_RELAY}) AS another_is_idle
"""
GIVE_BACK = f"SELECT pg_advisory_unlock({AdvisoryLock.IDLE_RELAY})"
