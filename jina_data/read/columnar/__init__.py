"""Formats with typed columns: Parquet and Arrow."""
