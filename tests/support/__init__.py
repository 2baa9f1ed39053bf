"""What the tests of running processes share."""
