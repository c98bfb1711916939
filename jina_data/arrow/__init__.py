"""Arrow types and paths into nested columns. Imports only PyArrow, since training uses it."""
