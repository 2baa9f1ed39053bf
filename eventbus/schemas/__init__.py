"""The registry of contracts: the JSON Schema of every version, as files that are published, and what changes it."""
