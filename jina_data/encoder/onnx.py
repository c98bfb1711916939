"""The encoder as an ONNX graph: tokens and mask in, the vector of each text out, for any number and length of texts."""

from __future__ import annotations

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
from jina_data.folder import whole_path

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"
OPSET = 20


class Pooled(nn.Module):
    """The model with its pooling, in one graph."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the vectors of texts, (B, D)."""
        return mean_pool(self.model(input_ids, attention_mask), attention_mask)


def traced(encoder: Encoder) -> torch.export.ExportedProgram:
    """Return the graph as torch exports it, with the number of texts and their length left open."""
    model = Pooled(encoder.model).eval()
    free = {0: torch.export.Dim("texts", min=1), 1: torch.export.Dim("tokens", min=2, max=2**20)}
    with torch.no_grad():
        return torch.export.export(model, _example(encoder), dynamic_shapes=(free, free))


def export_onnx(encoder: Encoder, path: str | Path) -> Path:
    """Write the encoder as one ONNX file. Its inputs are `input_ids` and `attention_mask`, (B, S), of type int64.

    Attention takes the dense bias there, whose memory grows with the square of the length.

    Raises:
        MissingExtraError: the packages onnx and onnxscript are not installed.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise MissingExtraError(f"ONNX export needs {' and '.join(missing)}; run: pip install onnx onnxscript")
    # The fused kernels lay their result out in another way than the steps that ONNX puts in their place.
    with sdpa_kernel(SDPBackend.MATH):
        program: Any = torch.onnx.export(
            traced(encoder), dynamo=True, input_names=INPUTS, output_names=[OUTPUT], opset_version=OPSET, verbose=False
        )
    target = Path(path)
    with whole_path(target) as temporary:
        program.save(temporary)
    return target


def _example(encoder: Encoder) -> tuple[Tensor, Tensor]:
    """Return a batch with padding: the shapes of what is traced must not be special."""
    shape = (3, 7)
    mask = torch.arange(shape[1]) < torch.tensor([5, 7, 6])[:, None]
    ids = torch.full(shape, encoder.pad_id)
    return ids.to(encoder.device), mask.long().to(encoder.device)
