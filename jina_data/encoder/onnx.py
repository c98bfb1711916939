"""Exports the encoder as an ONNX graph, from tokens and mask to text vectors, for any number and length of texts."""

from __future__ import annotations

from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from jina_data.encoder.encoder import Encoder
from jina_data.encoder.load import Model
from jina_data.encoder.pooling import mean_pool
from jina_data.errors import MissingExtraError
from jina_data.run.files import atomic_path

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"
OPSET = 20


class PooledModel(nn.Module):
    """A model with mean pooling, as one graph."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the vectors of texts, (B, D)."""
        return mean_pool(self.model(input_ids, attention_mask), attention_mask)


def trace(encoder: Encoder) -> torch.export.ExportedProgram:
    """Return the exported graph in full precision, with a dynamic number and length of texts."""
    is_full = encoder.dtype == torch.float32 and encoder.device.type == "cpu"
    model = PooledModel(encoder.model if is_full else deepcopy(encoder.model).float().cpu()).eval()
    dynamic = {0: torch.export.Dim("texts", min=1), 1: torch.export.Dim("tokens", min=2, max=2**20)}
    with torch.no_grad():
        return torch.export.export(model, _example(encoder), dynamic_shapes=(dynamic, dynamic))


def export_onnx(encoder: Encoder, path: str | Path) -> Path:
    """Write the encoder as one ONNX file in full precision, and return its path.

    Its inputs are `input_ids` and `attention_mask`, (B, S) of int64, for any number of texts and any length; its output
    is `sentence_embedding`, (B, D): the mean of the token vectors, not scaled. Attention uses the dense bias, whose
    memory grows with the square of the length.

    Args:
        encoder: the encoder; it is not changed.
        path: the file; it is written atomically.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise MissingExtraError(f"ONNX export needs {' and '.join(missing)}; run: pip install onnx onnxscript")
    # The result of a fused kernel has another memory layout than that of the steps that ONNX replaces it with.
    with sdpa_kernel(SDPBackend.MATH):
        program: Any = torch.onnx.export(
            trace(encoder), dynamo=True, input_names=INPUTS, output_names=[OUTPUT], opset_version=OPSET, verbose=False
        )
    target = Path(path)
    with atomic_path(target) as temporary:
        program.save(temporary)
    return target


def _example(encoder: Encoder) -> tuple[Tensor, Tensor]:
    """Return a batch with padding, of an arbitrary shape: the trace must not specialize on it."""
    shape = (3, 7)
    mask = torch.arange(shape[1]) < torch.tensor([5, 7, 6])[:, None]
    ids = torch.full(shape, encoder.pad_id)
    return ids, mask.long()
