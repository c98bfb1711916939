"""Compiled loops over Arrow buffers (numba)."""
