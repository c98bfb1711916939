"""Mines hard negatives: texts of a corpus that are close to an anchor, but not positives of it."""
