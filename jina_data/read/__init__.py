"""Sources to batches."""
