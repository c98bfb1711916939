"""Forecasts of clean runs from a sample and measured costs: `jina-data clean --plan`."""
