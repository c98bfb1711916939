"""The encoder that the cleaned data is for: JinaBERT and the T5 encoder, in PyTorch. Imports no DuckDB, no fastText."""
