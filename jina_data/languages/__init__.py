"""Languages of texts: identification, names, scripts, and the part of a text that is prose."""
