"""Monitoring: status, alarms, invariants and the delivery audit."""
