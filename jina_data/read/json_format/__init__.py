"""Reads JSON: lines, arrays, values one after another, and records inside of documents."""
