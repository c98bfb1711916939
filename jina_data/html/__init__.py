"""Pages that a browser reads without a network: one template environment, text differences, curves."""
