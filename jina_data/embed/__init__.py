"""Embedders, which turn texts into vectors, and cross-encoders, which score pairs of texts."""
