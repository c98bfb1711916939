"""HTML pages without external files: the template environment, text differences, curves."""
