"""What the checks share."""

BUS = "bus"

#: How long a task may go on after its time limit before it is killed: see `eventbus.worker.tasks`.
GRACE = 5
