"""Cleans a corpus: recipe, passes over the input, run folder, report."""
