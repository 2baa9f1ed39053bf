"""Dead letters: what could not be processed, why, and its way back.

A dead letter comes in by `store` and is settled in three ways: a person discards it (`services`); its event was handled
before it arrived (HEAL in `store`); or its event is handled later, and then the database does it: a trigger on the
inbox (`heal_dead_letter`, see `eventbus.worker.inbox`) makes it replayed when the row of its event turns done.
"""
