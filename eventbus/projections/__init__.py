"""Projections: a consumer's tables are built again from the archive while events flow."""
