"""Building a projection's tables anew from the archive, beside the live ones, and putting them in their place."""
