"""Hard negatives: texts of a corpus that are close to the anchors of some pairs and no positives of theirs."""
