"""Negations written for pairs of which one text entails the other: triplets (anchor, entailment, negative)."""
