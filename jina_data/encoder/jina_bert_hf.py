"""JinaBERT as a model of transformers, so that AutoModel and sentence-transformers load the folders we save.

Saved folders hold this file and those it imports. Anybody can load them with `trust_remote_code=True`, without
jina-data; where jina-data is at hand, `register()` makes the flag needless.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .jina_bert import JinaBert, JinaBertConfig

MODEL_TYPE = "jina_bert"
"""Not "bert", as the published configs say: transformers would then take its own BERT, with most weights random."""


class JinaBertHfConfig(PretrainedConfig):  # type: ignore[misc]
    """The keys of JinaBertConfig, as transformers wants them."""

    model_type = MODEL_TYPE

    def __init__(self, **values: Any) -> None:
        super().__init__(**{**JinaBertConfig().to_dict(), **values})

    def ours(self) -> JinaBertConfig:
        """Return the configuration that the model is built from."""
        return JinaBertConfig.from_dict(self.to_dict())


class JinaBertHf(PreTrainedModel):  # type: ignore[misc]
    """A JinaBert with the manners of transformers; its weights have the same names."""

    config_class = JinaBertHfConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flex_attn = True

    def __init__(self, config: JinaBertHfConfig) -> None:
        super().__init__(config)
        model = JinaBert(config.ours())
        self.inner_config = model.config
        self.embeddings, self.encoder, self.pooler = model.embeddings, model.encoder, model.pooler
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Leave the weights as JinaBert drew them."""

    def get_input_embeddings(self) -> Any:
        """Return the token vectors."""
        return self.embeddings.word_embeddings

    def gradient_checkpointing_enable(self, *args: Any, **options: Any) -> None:
        """Recompute the layers in the backward pass, to save memory."""
        self.encoder.checkpoints = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep what the layers computed."""
        self.encoder.checkpoints = False

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **options: Any,
    ) -> BaseModelOutput:
        """Return the vectors of tokens, (B, S, D), as `last_hidden_state`."""
        return BaseModelOutput(last_hidden_state=run(self, input_ids, attention_mask, token_type_ids))


def run(model: JinaBertHf, *inputs: Tensor | None) -> Tensor:
    """Send tokens through the parts of a JinaBert that another class holds."""
    return JinaBert.forward(_Parts(model), *inputs)  # type: ignore[arg-type]


class _Parts:
    """What the forward pass of JinaBert looks up."""

    def __init__(self, model: JinaBertHf) -> None:
        self.config, self.embeddings, self.encoder = model.inner_config, model.embeddings, model.encoder


def register() -> None:
    """Tell transformers about JinaBERT, so that it loads our folders without `trust_remote_code`. May be repeated."""
    AutoConfig.register(MODEL_TYPE, JinaBertHfConfig, exist_ok=True)
    AutoModel.register(JinaBertHfConfig, JinaBertHf, exist_ok=True)
