"""PostgreSQL: statements, sessions, advisory locks, DDL on live tables, and a time for calls over the network."""
