"""Dead letters: what could not be processed, why, and its way back."""
