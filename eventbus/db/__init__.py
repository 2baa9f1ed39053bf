"""PostgreSQL: statements, advisory locks, and DDL on live tables."""
