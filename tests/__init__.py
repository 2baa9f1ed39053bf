"""Tests of the whole product on real servers: `conformance` (the bus's promises), `stories` (whole flows), `faults`."""
