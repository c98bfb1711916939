"""The T5 encoder: same vectors as transformers, and relative position buckets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from jina_data.encoder.load import load_model
from jina_data.encoder.t5 import T5Config, T5Encoder, relative_buckets
from jina_data.errors import ModelError

SHAPES = {"vocab_size": 100, "d_model": 48, "d_kv": 8, "d_ff": 40, "num_layers": 3, "num_heads": 4}


def theirs(proj: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.T5Config(**{**SHAPES, "feed_forward_proj": proj, "initializer_factor": 2.0, **changes})
    return transformers.T5EncoderModel(config).eval()


def ours_with(model: Any, proj: str) -> T5Encoder:
    encoder = T5Encoder(T5Config(**SHAPES, feed_forward_proj=proj))  # type: ignore[arg-type]
    encoder.load_state_dict({name: weight for name, weight in model.state_dict().items() if "embed_tokens" not in name})
    return encoder.eval()


@pytest.mark.parametrize("proj", ["relu", "gated-gelu"])
@pytest.mark.parametrize("lengths", [[1], [5, 2], [300, 7, 129], [512]], ids=str)
def test_vectors_are_those_of_transformers(proj: str, lengths: list[int]) -> None:
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(2, 100, mask.shape, generator=torch.Generator().manual_seed(1))
    # Large weights make attention sharp; rounding grows with them, so results are compared in double precision.
    for factor, dtype, tolerance in ((1.0, torch.float32, 1e-5), (2.0, torch.float64, 1e-9)):
        model = theirs(proj, initializer_factor=factor).to(dtype)
        encoder = ours_with(model, proj).to(dtype)
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
            found = encoder(ids, mask)
        torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=0, atol=tolerance)


def test_gradients_are_those_of_transformers() -> None:
    model = theirs("gated-gelu", dropout_rate=0.0)
    encoder = ours_with(model, "gated-gelu")
    mask = (torch.arange(20) < torch.tensor([20, 3])[:, None]).long()
    ids = torch.randint(2, 100, mask.shape, generator=torch.Generator().manual_seed(2))
    direction = torch.randn(23, 48, generator=torch.Generator().manual_seed(5))
    (model(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()] * direction).sum().backward()
    (encoder(ids, mask)[mask.bool()] * direction).sum().backward()
    for name, parameter in encoder.named_parameters():
        expected = model.get_parameter(name).grad
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_buckets_are_those_of_transformers() -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-600, 601)
    for n_buckets, max_distance in ((32, 128), (16, 64), (64, 500)):
        expected = T5Attention._relative_position_bucket(distance, True, n_buckets, max_distance)
        found = relative_buckets(distance, n_buckets=n_buckets, max_distance=max_distance)
        assert found.equal(expected)
    near = relative_buckets(torch.arange(-8, 9), n_buckets=32, max_distance=128)
    assert near.tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0, 17, 18, 19, 20, 21, 22, 23, 24]


@pytest.mark.parametrize(("preset", "millions"), [("small", 35), ("base", 110), ("large", 335)])
def test_presets_have_the_sizes_of_the_paper(preset: str, millions: int) -> None:
    with torch.device("meta"):
        ours = T5Encoder(T5Config.preset(preset))
        config = ours.config
        other = transformers.T5EncoderModel(transformers.T5Config(**{name: getattr(config, name) for name in SHAPES}))
    n_parameters = sum(weight.numel() for weight in ours.parameters())
    assert n_parameters == sum(weight.numel() for weight in other.parameters())
    assert round(n_parameters / 1e6) == millions


def test_weights_of_a_whole_t5_load(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = transformers.T5Config(**SHAPES, feed_forward_proj="gated-gelu", decoder_start_token_id=0)
    whole = transformers.T5ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    encoder = load_model(tmp_path)
    ids = torch.randint(2, 100, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(encoder(ids), whole.encoder(ids).last_hidden_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feed_forward_proj": "gated-silu"}, "feed_forward_proj is 'gated-silu'; expected one of relu, gated-gelu"),
        ({"d_ff": "big"}, "d_ff is 'big'; expected a whole number above 0"),
    ],
)
def test_wrong_configs(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    import json

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", **SHAPES, **change}))
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="no preset 'xl' of T5; expected one of small, base, large"):
        T5Config.preset("xl")


def test_checkpointing_changes_no_gradient() -> None:
    torch.manual_seed(4)
    model = T5Encoder(T5Config(**SHAPES, dropout_rate=0.0))  # type: ignore[arg-type]
    ids = torch.randint(2, 100, (2, 6))
    gradients = []
    for on in (False, True):
        model.encoder.checkpoints = on
        model.zero_grad()
        model(ids).square().sum().backward()
        gradients.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
    assert len(gradients[0]) == len(list(model.parameters()))
    assert all(one.equal(other) for one, other in zip(*gradients, strict=True))
