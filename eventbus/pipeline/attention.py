"""What wants somebody's attention, as SQL: numbers beside links, read together with those of the apps."""

#: Counted no further than this.
COUNTED = 1_000

#: SQL: how many dead letters nobody has settled.
OPEN_DEAD_LETTERS = f"(SELECT count(*) FROM (SELECT FROM dead_letter WHERE state = 'open' LIMIT {COUNTED}) AS few)"

#: SQL: how many alarms fire.
FIRING_ALARMS = "(SELECT count(*) FROM alarm WHERE state = 'firing')"
