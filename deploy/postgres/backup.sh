#!/bin/sh
# Makes a base backup at once and then every day, on Sundays a full one, and notes each for `bus_status` and the alarm.
set -eu
pgbackrest --stanza=pipeline stanza-create
while :; do
    if [ "$(date +%u)" = 7 ]; then type=full; else type=incr; fi
    pgbackrest --stanza=pipeline --type="$type" backup
    psql --no-psqlrc --quiet --username=postgres --command='INSERT INTO base_backup DEFAULT VALUES' pipeline
    # In the background, so that the signal to stop is heard.
    sleep 86400 &
    wait $!
done
