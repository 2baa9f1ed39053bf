"""Small consumers that need no app of their own: one file each, with its tables, its contracts and its admin."""
