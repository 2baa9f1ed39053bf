"""A database that was restored to a moment has forgotten what came after it, and the world outside has not."""
