"""Data from memory as inputs: tables, frames, datasets and rows, copied to files."""

from jina_data.read.memory.inputs import Inputs, copy_inputs, has_data, list_inputs

__all__ = ["Inputs", "copy_inputs", "has_data", "list_inputs"]
