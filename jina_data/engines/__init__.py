"""Engines: they run the units of work of a run."""
