"""Which way attention is computed: over padded rows or over packed tokens, by device and by lengths.

A model calls `lay_out` once a batch and gets a `Layout`. It says where the tokens lie while they go through the layers
(`pack` and `unpack`), and computes attention with the ALiBi bias (`attend`). All layouts give the same numbers:

| path     | where             | tokens | bias                                                             |
| -------- | ----------------- | ------ | ---------------------------------------------------------------- |
| eager    | the oracle        | padded | dense, everything in full precision, no fused kernel             |
| dense    | export, compile   | padded | dense with the padding mask in it, SDPA                          |
| blocks   | CPU, short texts  | packed | as dense, but only attention sees padding                        |
| toeplitz | CPU, long texts   | packed | a view of 2S-1 numbers a head, SDPA for each length; steep heads |
|          |                   |        | look no farther than their weights reach                         |
| flex     | CUDA              | packed | computed in the kernel; blocks of other documents are skipped    |

Shapes: B sequences, S tokens of the longest, T tokens of all, H heads, E dimensions of a head. N stands for B x S where
tokens are padded, and for T where they are packed.
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

from .alibi import dense_bias, reach, slopes_on, toeplitz_table, toeplitz_view

Path = Literal["auto", "eager", "dense", "blocks", "toeplitz", "flex"]

BLOCK_BIAS_ELEMENTS = 2**24
"""Most elements of a dense bias on a CPU (64 MiB); batches that would need more take the Toeplitz view."""

SHORT_TOKENS = 512
"""Longest sequence of a batch that is padded for attention on a CPU."""

WINDOW_TOKENS = 1536
"""Sequences from so many tokens on are looked at for heads that need not see all of them."""

WINDOW_QUERIES = 256
"""Queries of a block of such a head."""

WINDOW_MOST = 0.8
"""Largest share of the tokens that such a head may look at; above, the whole is as fast."""

WINDOW_LEAST_WEIGHT = 2.0**-25
"""What such a head may leave out of its weights: less than full precision can tell from rounding."""

FLEX_BLOCK = 128
"""Tokens of a block of FlexAttention."""

FLEX_LEAST_HEAD = 16
"""Smallest dimension of a head that FlexAttention takes."""

FLEX_OPTIONS: dict[str, object] = {"IS_DIVISIBLE": True}
"""What the kernel need not check: packed tokens are whole blocks, which it cannot see where lengths are dynamic."""

FLEX_HALF_OPTIONS = {**FLEX_OPTIONS, "fwd_BLOCK_N": 64}
"""In half precision keys by 64 are faster: forward 310 against 195 TFLOP/s on an H200 (12 heads, 8192 tokens)."""


class Layout(Protocol):
    """Where the tokens of a batch lie on their way through the layers, and how they attend to each other."""

    def pack(self, values_BS: Tensor) -> Tensor:
        """Bring values of padded tokens, (B, S), into this layout, (N,)."""
        ...

    def attend(self, q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor) -> Tensor:
        """Return what each token takes from those of its own sequence, (N, H, E)."""
        ...

    def unpack(self, x_ND: Tensor) -> Tensor:
        """Bring tokens back into padded rows, (B, S, D); padding is zeros where it was not computed."""
        ...


def lay_out(mask_BS: Tensor, *, n_heads: int, device: torch.device, path: Path = "auto", head_dim: int = 64) -> Layout:
    """Choose how a batch goes through the layers.

    Args:
        mask_BS: 1 for tokens, 0 for padding. It may stay on the CPU: then nobody has to wait for the GPU.
        n_heads: heads H.
        device: where the model is.
        path: a path by name, or "auto".
        head_dim: dimensions E of a head; FlexAttention takes none under 16.

    Raises:
        ValueError: there is no such path, or it cannot be taken with gaps between the tokens of a row.
    """
    if path not in get_args(Path):
        raise ValueError(f"there is no attention path {path!r}; expected one of {', '.join(get_args(Path))}")
    if path == "auto":
        path = _choose(mask_BS, n_heads, device, head_dim)
    slopes_H = slopes_on(device, n_heads)
    if path in ("eager", "dense"):
        return (Eager if path == "eager" else Dense)(slopes_H, mask_BS.to(device))
    lengths = _row_lengths(mask_BS)
    if lengths is None:
        raise ValueError(f"path {path!r} needs rows without gaps and without padding in front; use 'dense'")
    kinds: dict[str, type[Blocks | Toeplitz | Flex]] = {"blocks": Blocks, "toeplitz": Toeplitz, "flex": Flex}
    return kinds[path](slopes_H, lengths, mask_BS.shape[1])


def _choose(mask_BS: Tensor, n_heads: int, device: torch.device, head_dim: int) -> Path:
    """Return the fastest path for a batch, or the one that can be taken."""
    lengths = None if _is_traced() else _row_lengths(mask_BS)
    if lengths is None:
        return "dense"
    if device.type != "cpu":
        can_flex = device.type == "cuda" and head_dim >= FLEX_LEAST_HEAD and has_flex()
        return "flex" if can_flex else "dense"
    longest = max(lengths, default=0)
    fits = len(lengths) * n_heads * longest**2 <= BLOCK_BIAS_ELEMENTS
    return "blocks" if fits and longest <= SHORT_TOKENS else "toeplitz"


def _is_traced() -> bool:
    return bool(torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export())


def _row_lengths(mask_BS: Tensor) -> list[int] | None:
    """Return the tokens of each row, or None where a row has gaps or padding in front."""
    is_token_BS = mask_BS.bool()
    lengths_B = is_token_BS.sum(1)
    place_S = torch.arange(mask_BS.shape[1], device=mask_BS.device)
    if not torch.equal(is_token_BS, place_S < lengths_B[:, None]):
        return None
    lengths: list[int] = lengths_B.tolist()
    return lengths


# ------------------------------------------------------------------------------------------------------ padded


class Dense:
    """Padded rows; one bias for all layers that holds the distances and the padding, (B, H, S, S)."""

    def __init__(self, slopes_H: Tensor, mask_BS: Tensor) -> None:
        self.slopes_H, self.mask_BS = slopes_H, mask_BS
        self._bias: Tensor | None = None

    def pack(self, values_BS: Tensor) -> Tensor:
        """Leave tokens where they are."""
        return values_BS

    def unpack(self, x_BSD: Tensor) -> Tensor:
        """Leave tokens where they are."""
        return x_BSD

    def attend(self, q_BSHE: Tensor, k_BSHE: Tensor, v_BSHE: Tensor) -> Tensor:
        """Attend with SDPA."""
        q_BHSE, k_BHSE, v_BHSE = (one.transpose(1, 2) for one in (q_BSHE, k_BSHE, v_BSHE))
        if self._bias is None:
            self._bias = beside(q_BSHE, padded_bias(self.slopes_H, self.mask_BS))
        return F.scaled_dot_product_attention(q_BHSE, k_BHSE, v_BHSE, attn_mask=self._bias).transpose(1, 2)


class Eager(Dense):
    """Padded rows; each step written out in full precision. The others are tested against it."""

    def attend(self, q_BSHE: Tensor, k_BSHE: Tensor, v_BSHE: Tensor) -> Tensor:
        """Attend step by step."""
        q_BHSE, k_BHSE, v_BHSE = (one.transpose(1, 2).float() for one in (q_BSHE, k_BSHE, v_BSHE))
        scores_BHSS = q_BHSE @ k_BHSE.transpose(-1, -2) / q_BHSE.shape[-1] ** 0.5
        scores_BHSS = scores_BHSS + dense_bias(self.slopes_H, q_BHSE.shape[2])
        is_padding_BS = ~self.mask_BS.bool()
        scores_BHSS = scores_BHSS.masked_fill(is_padding_BS[:, None, None, :], torch.finfo(torch.float32).min)
        out_BHSE: Tensor = scores_BHSS.softmax(-1) @ v_BHSE
        return out_BHSE.transpose(1, 2).to(q_BSHE.dtype)


def padded_bias(slopes_H: Tensor, mask_BS: Tensor) -> Tensor:
    """Return the bias with the padding in it, (B, H, S, S). Padding is filled in, not added, so that nothing overflows.

    Its least number is that of half precision: it stays finite in every type, and is far below any bias.
    """
    is_padding_BS = ~mask_BS.bool()
    least = torch.finfo(torch.float16).min
    return dense_bias(slopes_H, mask_BS.shape[1])[None].masked_fill(is_padding_BS[:, None, None, :], least)


def beside(q: Tensor, bias: Tensor) -> Tensor:
    """Return a bias in a type that SDPA takes beside these queries: full precision on a CPU, theirs on a GPU."""
    return bias.to(torch.promote_types(q.dtype, bias.dtype) if q.device.type == "cpu" else q.dtype)


# ------------------------------------------------------------------------------------------------------ packed


class Packed:
    """Tokens end to end, (T, ...), so that no layer computes padding."""

    def __init__(self, slopes_H: Tensor, lengths: Sequence[int], padded_length: int) -> None:
        self.slopes_H = slopes_H
        self.lengths = list(lengths)
        self.padded_length = padded_length
        self.index_T = _places(self.lengths, padded_length).to(slopes_H.device)

    def pack(self, values_BS: Tensor) -> Tensor:
        """Take the tokens out of padded rows, (T,)."""
        return values_BS.flatten()[self.index_T]

    def unpack(self, x_TD: Tensor) -> Tensor:
        """Put the tokens back into rows, (B, S, D), with zeros as padding."""
        return _scattered(x_TD, self.index_T, len(self.lengths), self.padded_length)


class Blocks(Packed):
    """Packed tokens that are padded for attention alone: what is fastest for short sequences on a CPU."""

    def __init__(self, slopes_H: Tensor, lengths: Sequence[int], padded_length: int) -> None:
        super().__init__(slopes_H, lengths, padded_length)
        self.longest = max(self.lengths, default=0)
        self.block_index_T = _places(self.lengths, self.longest).to(slopes_H.device)
        place_S = torch.arange(self.longest, device=slopes_H.device)
        mask_BS = place_S < torch.tensor(self.lengths, device=slopes_H.device)[:, None]
        is_even = len(set(self.lengths)) <= 1
        self.bias = padded_bias(slopes_H, mask_BS[:1] if is_even else mask_BS)

    def attend(self, q_THE: Tensor, k_THE: Tensor, v_THE: Tensor) -> Tensor:
        """Attend with SDPA over rows padded to the longest."""
        q_BHSE, k_BHSE, v_BHSE = (self._rows(one).transpose(1, 2) for one in (q_THE, k_THE, v_THE))
        out_BHSE = F.scaled_dot_product_attention(q_BHSE, k_BHSE, v_BHSE, attn_mask=beside(q_THE, self.bias))
        return out_BHSE.transpose(1, 2).flatten(0, 1)[self.block_index_T]

    def _rows(self, x_THE: Tensor) -> Tensor:
        return _scattered(x_THE, self.block_index_T, len(self.lengths), self.longest)


class Toeplitz(Packed):
    """Packed tokens, each sequence with a view of one small table as its bias: for long sequences on a CPU.

    The steeper the slope of a head, the fewer tokens have a weight that is not lost in rounding. In sequences of
    WINDOW_TOKENS or more each head computes those alone, by a bound that is taken from its queries and keys (`reach`).
    """

    def __init__(self, slopes_H: Tensor, lengths: Sequence[int], padded_length: int) -> None:
        super().__init__(slopes_H, lengths, padded_length)
        self.table = toeplitz_table(slopes_H, max([1, *self.lengths]))

    def attend(self, q_THE: Tensor, k_THE: Tensor, v_THE: Tensor) -> Tensor:
        """Attend with SDPA, once for each run of sequences of one length."""
        sizes = [n_rows * length for n_rows, length in self._runs()]
        parts = zip(self._runs(), *(torch.split(one, sizes) for one in (q_THE, k_THE, v_THE)), strict=True)
        return torch.cat([self._attend_run(length, *qkv) for (_, length), *qkv in parts])

    def _runs(self) -> Iterator[tuple[int, int]]:
        for length, run in groupby(length for length in self.lengths if length):
            yield len(list(run)), length

    def _attend_run(self, length: int, *qkv: Tensor) -> Tensor:
        q_BHLE, k_BHLE, v_BHLE = (one.view(-1, length, *one.shape[1:]).transpose(1, 2) for one in qkv)
        table = beside(q_BHLE, self.table)
        windows = self._windows(q_BHLE, k_BHLE)
        if windows:
            heads = {
                h: banded(q_BHLE[:, [h]], k_BHLE[:, [h]], v_BHLE[:, [h]], table[[h]], window)
                for h, window in windows.items()
            }
            if wide := [h for h in range(len(table)) if h not in windows]:
                seen = reversed_sdpa(q_BHLE[:, wide], k_BHLE[:, wide], v_BHLE[:, wide], table[wide])
                heads |= zip(wide, torch.split(seen, 1, dim=1), strict=True)
            out_BHLE = torch.cat([heads[h] for h in range(len(table))], 1)
        else:
            out_BHLE = reversed_sdpa(q_BHLE, k_BHLE, v_BHLE, table)
        return out_BHLE.transpose(1, 2).flatten(0, 1)

    def _windows(self, q_BHLE: Tensor, k_BHLE: Tensor) -> dict[int, int]:
        """Return for each head that need not look at all tokens how far it looks."""
        length = q_BHLE.shape[2]
        if length < WINDOW_TOKENS:
            return {}
        far = reach(self.slopes_H, q_BHLE, k_BHLE, WINDOW_LEAST_WEIGHT).tolist()
        return {h: ceil(one) for h, one in enumerate(far) if 2 * one + WINDOW_QUERIES < WINDOW_MOST * length}


def reversed_sdpa(q_BHQE: Tensor, k_BHKE: Tensor, v_BHKE: Tensor, table: Tensor, ahead: int = 0) -> Tensor:
    """Attend with SDPA and the view of the table, whose queries are in reverse; return (B, H, Q, E) in order."""
    bias = toeplitz_view(table, q_BHQE.shape[2], k_BHKE.shape[2], ahead)
    return F.scaled_dot_product_attention(q_BHQE.flip(2), k_BHKE, v_BHKE, attn_mask=bias).flip(2)


def banded(q_B1LE: Tensor, k_B1LE: Tensor, v_B1LE: Tensor, table: Tensor, window: int) -> Tensor:
    """Attend with one head that looks `window` tokens to each side, (B, 1, L, E).

    Queries go in blocks, each with its keys; those between the edges are one batch, whose keys are overlapping views.
    """
    length, step = q_B1LE.shape[2], WINDOW_QUERIES
    n_inner = (length - 2 * window) // step
    end = window + n_inner * step
    left = reversed_sdpa(q_B1LE[:, :, :window], k_B1LE[:, :, : 2 * window], v_B1LE[:, :, : 2 * window], table)
    q_BNQE = q_B1LE[:, 0, window:end].reshape(-1, n_inner, step, q_B1LE.shape[3])
    k_BNKE, v_BNKE = (
        one[:, 0, : end + window].unfold(1, step + 2 * window, step).transpose(2, 3) for one in (k_B1LE, v_B1LE)
    )
    inner = reversed_sdpa(q_BNQE, k_BNKE, v_BNKE, table, -window).flatten(1, 2)[:, None]
    first = end - window
    right = reversed_sdpa(q_B1LE[:, :, end:], k_B1LE[:, :, first:], v_B1LE[:, :, first:], table, -window)
    return torch.cat([left, inner, right], 2)


class Flex(Packed):
    """Packed tokens as one sequence of documents, for FlexAttention: the bias is computed inside the kernel.

    The tokens are filled up to whole blocks with a document of dummies (at most 127 tokens a batch).
    """

    def __init__(self, slopes_H: Tensor, lengths: Sequence[int], padded_length: int) -> None:
        super().__init__(slopes_H, lengths, padded_length)
        n_tokens = sum(self.lengths)
        self.n_dummies = max(1, -(-n_tokens // FLEX_BLOCK)) * FLEX_BLOCK - n_tokens
        numbers = torch.arange(len(self.lengths) + 1)
        document_T = numbers.repeat_interleave(torch.tensor([*self.lengths, self.n_dummies]))
        self.block_mask = document_blocks(document_T, slopes_H.device)
        self.score_mod = _alibi_score(slopes_H)

    def pack(self, values_BS: Tensor) -> Tensor:
        """Take the tokens out of padded rows and put dummies behind them, (T,)."""
        return F.pad(super().pack(values_BS), (0, self.n_dummies))

    def unpack(self, x_TD: Tensor) -> Tensor:
        """Put the tokens back into rows, without the dummies."""
        return super().unpack(x_TD[: len(x_TD) - self.n_dummies])

    def attend(self, q_THE: Tensor, k_THE: Tensor, v_THE: Tensor) -> Tensor:
        """Attend with FlexAttention."""
        q_BHTE, k_BHTE, v_BHTE = (one.transpose(0, 1)[None] for one in (q_THE, k_THE, v_THE))
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
    """Return the BlockMask under which tokens see those of their own document only.

    Documents lie end to end, so the first and the last document of a block tell whether two blocks meet, and whether
    both are of one document as a whole. That takes (T/128)^2 comparisons, where asking for each pair takes T^2.

    Args:
        document_T: the number of each token's document, ascending, on the CPU; T is a multiple of the block.
        device: where the mask is needed.
    """
    from torch.nn.attention.flex_attention import BlockMask

    first_K, last_K = document_T[::FLEX_BLOCK], document_T[FLEX_BLOCK - 1 :: FLEX_BLOCK]
    meets_QK = (first_K[:, None] <= last_K) & (last_K[:, None] >= first_K)
    is_whole_K = first_K == last_K
    is_full_QK = meets_QK & is_whole_K[:, None] & is_whole_K
    on_device_T = document_T.to(device)

    def same_document(_b: Tensor, _h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return on_device_T[q] == on_device_T[kv]

    return BlockMask.from_kv_blocks(
        *_listed(meets_QK & ~is_full_QK, device),
        *_listed(is_full_QK, device),
        BLOCK_SIZE=FLEX_BLOCK,
        mask_mod=same_document,
        seq_lengths=(len(document_T), len(document_T)),
    )


def _listed(chosen_QK: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return how many blocks each block of queries needs, (1, 1, Q), and which, (1, 1, Q, K)."""
    order_QK = chosen_QK.int().argsort(dim=1, descending=True, stable=True).int()
    return chosen_QK.sum(1).int()[None, None].to(device), order_QK[None, None].contiguous().to(device)


def _alibi_score(slopes_H: Tensor) -> Callable[..., Tensor]:
    def score(score: Tensor, _b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return score - slopes_H[h] * (q - kv).abs()

    return score


@cache
def has_flex() -> bool:
    """Tell whether this torch can compile FlexAttention."""
    from importlib.util import find_spec

    return find_spec("torch.nn.attention.flex_attention") is not None and find_spec("triton") is not None


@lru_cache(maxsize=2)
def _flex_attention(is_compiled: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    flex: Any = torch.compile(flex_attention, dynamic=True) if is_compiled else flex_attention
    return cast("Callable[..., Any]", flex)


def _places(lengths: Sequence[int], width: int) -> Tensor:
    """Return where each token of a packed batch stands in rows of some width, (T,)."""
    mask = torch.arange(width) < torch.tensor(lengths, dtype=torch.long)[:, None]
    return mask.flatten().nonzero()[:, 0]


def _scattered(x_T: Tensor, index_T: Tensor, n_rows: int, width: int) -> Tensor:
    """Put packed tokens, (T, ...), into rows of some width, (B, S, ...), with zeros as padding."""
    rows = x_T
    if len(x_T) < n_rows * width:
        rows = x_T.new_zeros(n_rows * width, *x_T.shape[1:]).index_copy_(0, index_T, x_T)
    return rows.view(n_rows, width, *x_T.shape[1:])
