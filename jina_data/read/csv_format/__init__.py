"""Reads CSV and TSV in the dialects that are found in the field."""
