"""An app that exists only in the tests' processes. Its tables are in `tests.support.bus`, without a migration."""
