"""English words and sentences: verb forms, opposites, negation and its cues."""
