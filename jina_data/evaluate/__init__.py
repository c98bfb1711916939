"""Measures of embedders: what a model gets right, with intervals that say how sure that is."""
