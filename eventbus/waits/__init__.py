"""How long a process waits: after failures in a row, and between two runs."""
