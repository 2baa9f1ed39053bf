"""The kinds of faults. To import this package is to declare them all."""

from tools.chaos.faults import bad_input, broker, database, mail, network, processes
from tools.harness.clock import LIBRARY

__all__ = ["bad_input", "broker", "database", "left_out", "mail", "network", "processes"]


def left_out() -> list[str]:
    """What is not done to the product, and why."""
    found = ["network partition between broker nodes: there is one; see tests/faults/test_cluster.py"]
    if LIBRARY is None:
        found.append("clocks that are wrong: there is no libfaketime; install the package faketime")
    return found
