"""Attention with ALiBi over padded rows or packed tokens; the fastest path depends on device and lengths.

A model calls `choose_layout` once per batch and gets a `TokenLayout`. The layout decides how the tokens are arranged in
the layers (`pack` and `unpack`), and computes attention with the ALiBi bias (`attend`). All layouts give the same
numbers up to rounding:

| path     | used for          | tokens | bias                                                             |
| -------- | ----------------- | ------ | ---------------------------------------------------------------- |
| eager    | tests             | padded | dense, everything in full precision, no fused kernel             |
| dense    | export, compile   | padded | dense, includes the padding mask; SDPA                           |
| blocks   | CPU, short texts  | packed | as dense, but only attention sees padding                        |
| toeplitz | CPU, long texts   | packed | a view of 2S-1 numbers per head, SDPA for each length; steep     |
|          |                   |        | heads only attend within their range                             |
| flex     | CUDA              | packed | computed in the kernel; blocks of other documents are skipped    |

Shapes: B sequences, S tokens of the longest, T tokens of all, H heads, E dimensions of a head, L tokens of sequences of
one length, Q queries, K keys. N stands for B x S where tokens are padded, and for T where they are packed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import groupby
from math import ceil
from typing import Any, Literal, Protocol, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .alibi import attention_range, dense_bias, slopes_on, toeplitz_table, toeplitz_view

AttentionPath = Literal["auto", "eager", "dense", "blocks", "toeplitz", "flex"]

BLOCK_BIAS_ELEMENTS = 2**24
"""Maximum size of a dense bias on a CPU in elements (64 MiB); larger batches use the Toeplitz view."""

SHORT_TOKENS = 512
"""Maximum sequence length of a batch that is padded for attention on a CPU."""

WINDOW_TOKENS = 1536
"""Minimum sequence length at which the range of each head is computed."""

WINDOW_QUERIES = 256
"""Queries per block of a head with a limited range."""

WINDOW_MAX_SHARE = 0.8
"""Maximum share of the tokens within the range of such a head; above it, full attention is as fast."""

WINDOW_MIN_WEIGHT = 2.0**-25
"""Share of the attention weights that such a head may ignore: below the rounding error of full precision."""

FLEX_BLOCK = 128
"""Tokens per block of FlexAttention."""

FLEX_MIN_HEAD_DIM = 16
"""Minimum head dimension of FlexAttention."""

FLEX_OPTIONS: dict[str, object] = {"IS_DIVISIBLE": True}
"""Packed tokens fill whole blocks; the kernel cannot infer that from dynamic lengths and would check bounds."""

FLEX_HALF_OPTIONS = {**FLEX_OPTIONS, "fwd_BLOCK_N": 64}
"""In half precision key blocks of 64 are faster: forward 310 instead of 195 TFLOP/s (H200, 12 heads, 8192 tokens)."""


class TokenLayout(Protocol):
    """The arrangement of the tokens of a batch in the layers, and their attention."""

    def pack(self, values_BS: Tensor) -> Tensor:
        """Convert values of padded tokens, (B, S), to this layout, (N,)."""
        ...

    def attend(self, q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor) -> Tensor:
        """Return the attention output of each token over the tokens of its sequence, (N, H, E)."""
        ...

    def unpack(self, x_ND: Tensor) -> Tensor:
        """Convert tokens back to padded rows, (B, S, D); padding that was not computed is zero."""
        ...


def choose_layout(
    mask_BS: Tensor, *, n_heads: int, device: torch.device, path: AttentionPath = "auto", head_dim: int = 64
) -> TokenLayout:
    """Choose the layout of a batch.

    Args:
        mask_BS: 1 for tokens, 0 for padding. On the CPU, reading it needs no synchronization with the GPU.
        n_heads: number of heads H.
        device: the device of the model.
        path: the name of a path, or "auto".
        head_dim: dimensions E of a head; FlexAttention needs at least 16.

    Raises:
        ValueError: there is no such path, or the path does not support gaps between the tokens of a row.
    """
    if path not in get_args(AttentionPath):
        raise ValueError(f"there is no attention path {path!r}; expected one of {', '.join(get_args(AttentionPath))}")
    if path == "auto":
        path = _fastest_path(mask_BS, n_heads, device, head_dim)
    slopes_H = slopes_on(device, n_heads)
    if path in ("eager", "dense"):
        return (EagerLayout if path == "eager" else DenseLayout)(slopes_H, mask_BS.to(device))
    lengths = _row_lengths(mask_BS)
    if lengths is None:
        raise ValueError(f"path {path!r} needs rows without gaps and without leading padding; use 'dense'")
    layouts: dict[str, type[BlockLayout | ToeplitzLayout | FlexLayout]] = {
        "blocks": BlockLayout,
        "toeplitz": ToeplitzLayout,
        "flex": FlexLayout,
    }
    return layouts[path](slopes_H, lengths, mask_BS.shape[1])


def _fastest_path(mask_BS: Tensor, n_heads: int, device: torch.device, head_dim: int) -> AttentionPath:
    """Return the fastest path that supports a batch."""
    lengths = None if _is_traced() else _row_lengths(mask_BS)
    if lengths is None:
        return "dense"
    if device.type != "cpu":
        can_flex = device.type == "cuda" and head_dim >= FLEX_MIN_HEAD_DIM and has_flex()
        return "flex" if can_flex else "dense"
    longest = max(lengths, default=0)
    fits = len(lengths) * n_heads * longest**2 <= BLOCK_BIAS_ELEMENTS
    return "blocks" if fits and longest <= SHORT_TOKENS else "toeplitz"


def _is_traced() -> bool:
    return bool(torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export())


def _row_lengths(mask_BS: Tensor) -> list[int] | None:
    """Return the number of tokens of each row, or None if a row has gaps or leading padding."""
    is_token_BS = mask_BS.bool()
    lengths_B = is_token_BS.sum(1)
    position_S = torch.arange(mask_BS.shape[1], device=mask_BS.device)
    if not torch.equal(is_token_BS, position_S < lengths_B[:, None]):
        return None
    lengths: list[int] = lengths_B.tolist()
    return lengths


# ------------------------------------------------------------------------------------------------------ padded


class DenseLayout:
    """Padded rows; all layers share one bias with the distances and the padding, (B, H, S, S)."""

    def __init__(self, slopes_H: Tensor, mask_BS: Tensor) -> None:
        self.slopes_H, self.mask_BS = slopes_H, mask_BS
        self._bias: Tensor | None = None

    def pack(self, values_BS: Tensor) -> Tensor:
        """Return padded tokens unchanged."""
        return values_BS

    def unpack(self, x_BSD: Tensor) -> Tensor:
        """Return padded tokens unchanged."""
        return x_BSD

    def attend(self, q_BSHE: Tensor, k_BSHE: Tensor, v_BSHE: Tensor) -> Tensor:
        """Attend with SDPA."""
        q_BHSE, k_BHSE, v_BHSE = (x_BSHE.transpose(1, 2) for x_BSHE in (q_BSHE, k_BSHE, v_BSHE))
        if self._bias is None:
            self._bias = cast_bias(q_BSHE, padded_bias(self.slopes_H, self.mask_BS))
        return F.scaled_dot_product_attention(q_BHSE, k_BHSE, v_BHSE, attn_mask=self._bias).transpose(1, 2)


class EagerLayout(DenseLayout):
    """Padded rows; each step is written out in full precision. The other layouts are tested against it."""

    def attend(self, q_BSHE: Tensor, k_BSHE: Tensor, v_BSHE: Tensor) -> Tensor:
        """Attend step by step."""
        q_BHSE, k_BHSE, v_BHSE = (x_BSHE.transpose(1, 2).float() for x_BSHE in (q_BSHE, k_BSHE, v_BSHE))
        scores_BHSS = q_BHSE @ k_BHSE.transpose(-1, -2) / q_BHSE.shape[-1] ** 0.5
        scores_BHSS = scores_BHSS + dense_bias(self.slopes_H, q_BHSE.shape[2])
        is_padding_BS = ~self.mask_BS.bool()
        scores_BHSS = scores_BHSS.masked_fill(is_padding_BS[:, None, None, :], torch.finfo(torch.float32).min)
        out_BHSE: Tensor = scores_BHSS.softmax(-1) @ v_BHSE
        return out_BHSE.transpose(1, 2).to(q_BSHE.dtype)


def padded_bias(slopes_H: Tensor, mask_BS: Tensor) -> Tensor:
    """Return the bias including the padding mask, (B, H, S, S). Padding is filled in, not added, to avoid overflow.

    The value of padding is the minimum of float16: it is finite in every dtype, and far below any bias.
    """
    is_padding_BS = ~mask_BS.bool()
    minimum = torch.finfo(torch.float16).min
    return dense_bias(slopes_H, mask_BS.shape[1])[None].masked_fill(is_padding_BS[:, None, None, :], minimum)


def cast_bias(q: Tensor, bias: Tensor) -> Tensor:
    """Return a bias in the dtype that SDPA needs for queries: full precision on a CPU, the queries' dtype on a GPU."""
    return bias.to(torch.promote_types(q.dtype, bias.dtype) if q.device.type == "cpu" else q.dtype)


# ------------------------------------------------------------------------------------------------------ packed


class PackedLayout:
    """Tokens of all sequences concatenated, (T, ...), so that no layer computes padding."""

    def __init__(self, slopes_H: Tensor, lengths: Sequence[int], padded_length: int) -> None:
        self.slopes_H = slopes_H
        self.lengths = list(lengths)
        self.padded_length = padded_length
        self.index_T = _token_indices(self.lengths, padded_length).to(slopes_H.device)

    def pack(self, values_BS: Tensor) -> Tensor:
        """Select the tokens from padded rows, (T,)."""
        return values_BS.flatten()[self.index_T]

    def unpack(self, x_TD: Tensor) -> Tensor:
        """Put the tokens back into rows, (B, S, D), with zeros as padding."""
        return _scatter(x_TD, self.index_T, len(self.lengths), self.padded_length)


class BlockLayout(PackedLayout):
    """Packed tokens that are padded only for attention: the fastest path for short sequences on a CPU."""

    def __init__(self, slopes_H: Tensor, lengths: Sequence[int], padded_length: int) -> None:
        super().__init__(slopes_H, lengths, padded_length)
        self.longest = max(self.lengths, default=0)
        self.block_index_T = _token_indices(self.lengths, self.longest).to(slopes_H.device)
        position_S = torch.arange(self.longest, device=slopes_H.device)
        mask_BS = position_S < torch.tensor(self.lengths, device=slopes_H.device)[:, None]
        # Sequences of one length have no padding and share one bias.
        has_one_length = len(set(self.lengths)) <= 1
        self.bias = padded_bias(slopes_H, mask_BS[:1] if has_one_length else mask_BS)

    def attend(self, q_THE: Tensor, k_THE: Tensor, v_THE: Tensor) -> Tensor:
        """Attend with SDPA over rows padded to the longest sequence."""
        q_BHSE, k_BHSE, v_BHSE = (self._rows(x_THE).transpose(1, 2) for x_THE in (q_THE, k_THE, v_THE))
        out_BHSE = F.scaled_dot_product_attention(q_BHSE, k_BHSE, v_BHSE, attn_mask=cast_bias(q_THE, self.bias))
        return out_BHSE.transpose(1, 2).flatten(0, 1)[self.block_index_T]

    def _rows(self, x_THE: Tensor) -> Tensor:
        return _scatter(x_THE, self.block_index_T, len(self.lengths), self.longest)


class ToeplitzLayout(PackedLayout):
    """Packed tokens; the bias of each sequence is a view of one small table. For long sequences on a CPU.

    The steeper the slope of a head, the fewer tokens have a weight above the rounding error. In sequences of
    WINDOW_TOKENS or more, each head computes only these, by a bound from its queries and keys (`attention_range`).
    """

    def __init__(self, slopes_H: Tensor, lengths: Sequence[int], padded_length: int) -> None:
        super().__init__(slopes_H, lengths, padded_length)
        self.table = toeplitz_table(slopes_H, max([1, *self.lengths]))

    def attend(self, q_THE: Tensor, k_THE: Tensor, v_THE: Tensor) -> Tensor:
        """Attend with SDPA, once for each run of consecutive sequences of one length."""
        sizes = [n_rows * length for n_rows, length in self._runs()]
        parts = zip(self._runs(), *(torch.split(x_THE, sizes) for x_THE in (q_THE, k_THE, v_THE)), strict=True)
        return torch.cat([self._attend_run(length, *qkv) for (_, length), *qkv in parts])

    def _runs(self) -> Iterator[tuple[int, int]]:
        for length, run in groupby(length for length in self.lengths if length):
            yield len(list(run)), length

    def _attend_run(self, length: int, *qkv: Tensor) -> Tensor:
        q_BHLE, k_BHLE, v_BHLE = (x_THE.view(-1, length, *x_THE.shape[1:]).transpose(1, 2) for x_THE in qkv)
        table = cast_bias(q_BHLE, self.table)
        windows = self._windows(q_BHLE, k_BHLE)
        if windows:
            heads = {
                h: banded_sdpa(q_BHLE[:, [h]], k_BHLE[:, [h]], v_BHLE[:, [h]], table[[h]], window)
                for h, window in windows.items()
            }
            if wide := [h for h in range(len(table)) if h not in windows]:
                wide_BHLE = reversed_sdpa(q_BHLE[:, wide], k_BHLE[:, wide], v_BHLE[:, wide], table[wide])
                heads |= zip(wide, torch.split(wide_BHLE, 1, dim=1), strict=True)
            out_BHLE = torch.cat([heads[h] for h in range(len(table))], 1)
        else:
            out_BHLE = reversed_sdpa(q_BHLE, k_BHLE, v_BHLE, table)
        return out_BHLE.transpose(1, 2).flatten(0, 1)

    def _windows(self, q_BHLE: Tensor, k_BHLE: Tensor) -> dict[int, int]:
        """Return the range of each head whose range is limited, in tokens to each side, by head."""
        length = q_BHLE.shape[2]
        if length < WINDOW_TOKENS:
            return {}
        ranges = attention_range(self.slopes_H, q_BHLE, k_BHLE, WINDOW_MIN_WEIGHT).tolist()
        max_keys = WINDOW_MAX_SHARE * length
        return {h: ceil(tokens) for h, tokens in enumerate(ranges) if 2 * tokens + WINDOW_QUERIES < max_keys}


def reversed_sdpa(q_BHQE: Tensor, k_BHKE: Tensor, v_BHKE: Tensor, table: Tensor, ahead: int = 0) -> Tensor:
    """Attend with SDPA and the Toeplitz view, which needs reversed queries; return (B, H, Q, E) in the given order."""
    bias = toeplitz_view(table, q_BHQE.shape[2], k_BHKE.shape[2], ahead)
    return F.scaled_dot_product_attention(q_BHQE.flip(2), k_BHKE, v_BHKE, attn_mask=bias).flip(2)


def banded_sdpa(q_B1LE: Tensor, k_B1LE: Tensor, v_B1LE: Tensor, table: Tensor, window: int) -> Tensor:
    """Attend with one head whose range is `window` tokens to each side, (B, 1, L, E).

    Queries are split into blocks, each with the keys in its range: a left edge of `window` queries, N inner blocks of
    `step` queries and `step + 2 * window` keys, and a right edge. The inner blocks are one batch; their keys are
    overlapping views.
    """
    length, step = q_B1LE.shape[2], WINDOW_QUERIES
    n_inner = (length - 2 * window) // step
    end = window + n_inner * step
    left_B1QE = reversed_sdpa(q_B1LE[:, :, :window], k_B1LE[:, :, : 2 * window], v_B1LE[:, :, : 2 * window], table)
    q_BNQE = q_B1LE[:, 0, window:end].reshape(-1, n_inner, step, q_B1LE.shape[3])
    k_BNKE, v_BNKE = (
        x_B1LE[:, 0, : end + window].unfold(1, step + 2 * window, step).transpose(2, 3) for x_B1LE in (k_B1LE, v_B1LE)
    )
    inner_B1QE = reversed_sdpa(q_BNQE, k_BNKE, v_BNKE, table, -window).flatten(1, 2)[:, None]
    first_key = end - window
    right_B1QE = reversed_sdpa(q_B1LE[:, :, end:], k_B1LE[:, :, first_key:], v_B1LE[:, :, first_key:], table, -window)
    return torch.cat([left_B1QE, inner_B1QE, right_B1QE], 2)


class FlexLayout(PackedLayout):
    """Packed tokens as one sequence of documents for FlexAttention, which computes the bias inside the kernel.

    The tokens are filled up to whole blocks with a document of dummies: at most 127 tokens per batch, or one block if
    the batch is empty.
    """

    def __init__(self, slopes_H: Tensor, lengths: Sequence[int], padded_length: int) -> None:
        super().__init__(slopes_H, lengths, padded_length)
        n_tokens = sum(self.lengths)
        self.n_dummies = max(1, -(-n_tokens // FLEX_BLOCK)) * FLEX_BLOCK - n_tokens
        documents = torch.arange(len(self.lengths) + 1)
        document_T = documents.repeat_interleave(torch.tensor([*self.lengths, self.n_dummies]))
        self.block_mask = document_blocks(document_T, slopes_H.device)
        self.score_mod = _alibi_score(slopes_H)

    def pack(self, values_BS: Tensor) -> Tensor:
        """Select the tokens from padded rows and append the dummies, (T,)."""
        return F.pad(super().pack(values_BS), (0, self.n_dummies))

    def unpack(self, x_TD: Tensor) -> Tensor:
        """Put the tokens back into rows, without the dummies."""
        return super().unpack(x_TD[: len(x_TD) - self.n_dummies])

    def attend(self, q_THE: Tensor, k_THE: Tensor, v_THE: Tensor) -> Tensor:
        """Attend with FlexAttention."""
        q_BHTE, k_BHTE, v_BHTE = (x_THE.transpose(0, 1)[None] for x_THE in (q_THE, k_THE, v_THE))
        flex = _flex_attention(q_THE.device.type == "cuda")
        out_BHTE: Tensor = flex(
            q_BHTE,
            k_BHTE,
            v_BHTE,
            score_mod=self.score_mod,
            block_mask=self.block_mask,
            kernel_options=FLEX_OPTIONS if q_THE.dtype == torch.float32 else FLEX_HALF_OPTIONS,
        )
        return out_BHTE[0].transpose(0, 1)


def document_blocks(document_T: Tensor, device: torch.device) -> Any:
    """Return the BlockMask in which tokens attend only to tokens of their document.

    Document numbers ascend, so the first and last document of two blocks decide whether the blocks share a document,
    and whether both lie within one document. That takes (T/128)^2 comparisons; testing each pair would take T^2.

    Args:
        document_T: the document number of each token, ascending, on the CPU; T is a multiple of FLEX_BLOCK.
        device: the device of the mask.
    """
    from torch.nn.attention.flex_attention import BlockMask

    first_K, last_K = document_T[::FLEX_BLOCK], document_T[FLEX_BLOCK - 1 :: FLEX_BLOCK]
    overlaps_QK = (first_K[:, None] <= last_K) & (last_K[:, None] >= first_K)
    has_one_document_K = first_K == last_K
    is_full_QK = overlaps_QK & has_one_document_K[:, None] & has_one_document_K
    on_device_T = document_T.to(device)

    def same_document(_b: Tensor, _h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return on_device_T[q] == on_device_T[kv]

    return BlockMask.from_kv_blocks(
        *_block_lists(overlaps_QK & ~is_full_QK, device),
        *_block_lists(is_full_QK, device),
        BLOCK_SIZE=FLEX_BLOCK,
        mask_mod=same_document,
        seq_lengths=(len(document_T), len(document_T)),
    )


def _block_lists(is_needed_QK: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the number of key blocks that each query block needs, (1, 1, Q), and their indices, (1, 1, Q, K)."""
    # The stable sort moves the needed blocks to the front, in ascending order; BlockMask ignores the rest.
    order_QK = is_needed_QK.int().argsort(dim=1, descending=True, stable=True).int()
    return is_needed_QK.sum(1).int()[None, None].to(device), order_QK[None, None].contiguous().to(device)


def _alibi_score(slopes_H: Tensor) -> Callable[..., Tensor]:
    def score(score: Tensor, _b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return score - slopes_H[h] * (q - kv).abs()

    return score


@cache
def has_flex() -> bool:
    """Return whether this torch can compile FlexAttention."""
    from importlib.util import find_spec

    return find_spec("torch.nn.attention.flex_attention") is not None and find_spec("triton") is not None


@lru_cache(maxsize=2)
def _flex_attention(is_compiled: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    flex: Any = torch.compile(flex_attention, dynamic=True) if is_compiled else flex_attention
    return cast("Callable[..., Any]", flex)


def _token_indices(lengths: Sequence[int], width: int) -> Tensor:
    """Return the index of each packed token in the flattened rows of `width` tokens, (T,)."""
    mask = torch.arange(width) < torch.tensor(lengths, dtype=torch.long)[:, None]
    return mask.flatten().nonzero()[:, 0]


def _scatter(x_T: Tensor, index_T: Tensor, n_rows: int, width: int) -> Tensor:
    """Copy packed tokens, (T, ...), to rows of `width` tokens, (B, S, ...), with zeros as padding."""
    rows = x_T  # without padding, a view is enough
    if len(x_T) < n_rows * width:
        rows = x_T.new_zeros(n_rows * width, *x_T.shape[1:]).index_copy_(0, index_T, x_T)
    return rows.view(n_rows, width, *x_T.shape[1:])
