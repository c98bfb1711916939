"""Clean, label and score training data for embedding models."""
