"""JinaBERT as a transformers model, so that AutoModel and sentence-transformers load the folders that jina-data saves.

Saved folders contain this file and the files it imports, so they load with `trust_remote_code=True` even without
jina-data. With jina-data installed, `register()` makes the flag unnecessary.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .jina_bert import JinaBert, JinaBertConfig

MODEL_TYPE = "jina_bert"
"""Not "bert" as in the published configs: transformers would then load its own BERT, with most weights random."""


class JinaBertHfConfig(PretrainedConfig):  # type: ignore[misc]
    """The keys of JinaBertConfig as a transformers configuration."""

    model_type = MODEL_TYPE

    def __init__(self, **values: Any) -> None:
        super().__init__(**{**JinaBertConfig().to_dict(), **values})

    def to_jina_bert(self) -> JinaBertConfig:
        """Return the configuration of the JinaBert."""
        return JinaBertConfig.from_dict(self.to_dict())


class JinaBertHf(PreTrainedModel):  # type: ignore[misc]
    """A JinaBert with the interface of transformers; its weights have the same names."""

    config_class = JinaBertHfConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flex_attn = True

    def __init__(self, config: JinaBertHfConfig) -> None:
        super().__init__(config)
        model = JinaBert(config.to_jina_bert())
        self.inner_config = model.config
        self.embeddings, self.encoder, self.pooler = model.embeddings, model.encoder, model.pooler
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Keep the weights that JinaBert initialized."""

    def get_input_embeddings(self) -> Any:
        """Return the embedding of tokens."""
        return self.embeddings.word_embeddings

    def gradient_checkpointing_enable(self, *args: Any, **options: Any) -> None:
        """Recompute activations in the backward pass to save memory."""
        self.encoder.checkpoints = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations in memory."""
        self.encoder.checkpoints = False

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **options: Any,
    ) -> BaseModelOutput:
        """Return the vectors of tokens, (B, S, D), as `last_hidden_state`."""
        hidden_BSD = JinaBert.forward(_JinaBertParts(self), input_ids, attention_mask, token_type_ids)  # type: ignore[arg-type]
        return BaseModelOutput(last_hidden_state=hidden_BSD)


class _JinaBertParts:
    """The attributes that the forward pass of JinaBert reads, taken from another class."""

    def __init__(self, model: JinaBertHf) -> None:
        self.config, self.embeddings, self.encoder = model.inner_config, model.embeddings, model.encoder


def register() -> None:
    """Register JinaBERT in transformers, so that saved folders load without `trust_remote_code`. May be repeated."""
    AutoConfig.register(MODEL_TYPE, JinaBertHfConfig, exist_ok=True)
    AutoModel.register(JinaBertHfConfig, JinaBertHf, exist_ok=True)
