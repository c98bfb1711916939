"""Forecast a run from a sample and measured rates: `jina-data clean --plan`."""
