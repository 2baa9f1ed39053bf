"""Dead letters: the store of what could not be processed, and the tools to read, discard, mend and replay it."""
