"""Provides the configuration of a negate run: settings that determine its results, and settings of the requests."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from jina_data.english.cues import Kind
from jina_data.english.paraphrase import VERSION as RESTATE_VERSION
from jina_data.errors import UsageError
from jina_data.llm.dialect import Endpoint, Form
from jina_data.negation.corpora import NamedSource, parse_source
from jina_data.negation.judge import JUDGE_PROMPT_HASH
from jina_data.negation.kinds import DEFAULT_MIX, RULES_MIX, checked_mix
from jina_data.negation.prompt import PROMPT_HASH
from jina_data.negation.rules import RuleGenerator
from jina_data.negation.verify import VerifyConfig

JUDGE_TOKENS = 256
"""Token limit of an answer of the judge: room for a short reason and some thoughts."""

GeneratorName = Literal["llm", "rules"]
Mode = Literal["online", "batch"]


@dataclass(frozen=True, kw_only=True)
class RequestConfig:
    """How requests are sent, and what they may cost. No setting changes an answer that a server has given."""

    mode: Mode = "online"
    api_key: str | None = field(default=None, repr=False)
    judge_api_key: str | None = field(default=None, repr=False)
    """None: the key of the writing model, if both use the same server."""
    concurrency: int = 16
    rpm: float | None = None
    tpm: float | None = None
    timeout_seconds: float = 120.0
    attempts: int = 6
    poll_seconds: float = 30.0
    wait: bool = True
    max_cost: float | None = None
    prices: Path | None = None
    price_in: float | None = None
    price_out: float | None = None


@dataclass(frozen=True, kw_only=True)
class NegateConfig:
    """The settings that determine the results of a run."""

    sources: Sequence[str]
    generator: GeneratorName = "llm"
    model: str | None = None
    base_url: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    form: Form | None = None
    pairs_per_request: int = 1
    retries: int = 1
    seed: int = 0
    limit: int | None = None
    test_fraction: float = 0.05
    mix: Mapping[Kind, float] | None = None
    """The shares of the kinds; None: DEFAULT_MIX for an LLM, RULES_MIX for rules."""
    restate: bool = False
    """Add pairs of a text and its paraphrase by a negated opposite."""
    recipe: str | None = None
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    nli: str | None = None
    """A cross-encoder for natural language inference that must confirm the contradiction."""
    judge_model: str | None = None
    """An LLM judge that decides if the other checks disagree."""
    judge_base_url: str | None = None
    """The server of the judge; None: the server of the writing model."""
    requests: RequestConfig = field(default_factory=RequestConfig)
    """How requests are sent; not part of the run's identity."""

    def check(self) -> None:
        """Check that the settings are valid together.

        Raises:
            UsageError: they are not.
        """
        checked_mix(self.shares)
        for source in self.sources:
            parse_source(source)
        if self.generator == "llm" and not self.model:
            raise UsageError("an LLM needs a name: set --model, or use --generator rules, which needs no model")
        if self.generator == "rules" and (self.model or self.base_url):
            raise UsageError(
                "--generator rules uses no model; remove --model and --base-url, or remove --generator rules"
            )
        for option, url in (("--base-url", self.base_url), ("--judge-base-url", self.judge_base_url)):
            _check_address(option, url)
        if self.judge_base_url and not self.judge_model:
            raise UsageError("--judge-base-url needs a judge; set --judge-model, too")
        if self.judge_model and self.generator == "rules":
            raise UsageError(
                "rules only use listed opposites, so a judge would never be asked; remove --judge-model, or use an LLM"
            )
        reserved = {"model", "messages", "response_format", "max_tokens", "max_completion_tokens", "stream", "n"}
        if conflicts := reserved & self.params.keys():
            raise UsageError(f"--param {min(conflicts)}: this is set by other options, or cannot be set")

    @property
    def shares(self) -> Mapping[Kind, float]:
        """The shares of the requested kinds."""
        if self.mix is not None:
            return self.mix
        return DEFAULT_MIX if self.generator == "llm" else RULES_MIX

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the writing model."""
        assert self.model is not None
        return Endpoint(model=self.model, base_url=self.base_url, max_tokens=self.max_tokens, params=self.params)

    @property
    def judge_endpoint(self) -> Endpoint | None:
        """The endpoint of the judge; None without a judge."""
        if self.judge_model is None:
            return None
        url = self.judge_base_url or self.base_url
        return Endpoint(model=self.judge_model, base_url=url, max_tokens=self.max_tokens or JUDGE_TOKENS)

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that determine the results, as plain data without secrets.

        A run only resumes if its fingerprint is the same.
        """
        is_llm = self.generator == "llm"
        endpoint = self.endpoint if is_llm else None
        return {
            "kind": "negate",
            "inputs": [_files_of(parse_source(source)) for source in self.sources],
            "generator": "llm" if is_llm else RuleGenerator.name,
            "model": self.model,
            "base_url": endpoint.public_url if endpoint else None,
            "prompt": PROMPT_HASH if is_llm else None,
            "params": dict(self.params),
            "max_tokens": self.max_tokens,
            "structured": self.form,
            "pairs_per_request": self.pairs_per_request if is_llm else None,
            "retries": self.retries if is_llm else None,
            "seed": self.seed,
            "limit": self.limit,
            "test_fraction": self.test_fraction,
            "mix": dict(self.shares),
            **({"restate": RESTATE_VERSION} if self.restate else {}),
            "recipe": _recipe_of(self.recipe),
            "checks": self.verify.model_dump(mode="json"),
            "nli": _nli_of(self.nli),
            "judge": _judge_of(self.judge_endpoint),
            "version": metadata.version("jina-data"),
        }


def _check_address(option: str, url: str | None) -> None:
    if url is None:
        return
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{option} {url}: expected an address that begins with http:// or https://")
    if path := next((end for end in ("/chat/completions", "/completions") if url.rstrip("/").endswith(end)), None):
        raise UsageError(f"{option} {url}: expected the address of the API without {path}; it usually ends in /v1")


def _files_of(source: NamedSource) -> dict[str, Any]:
    path = Path(source.path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    else:
        files = [path] if path.is_file() else [Path(name) for name in sorted(glob.glob(source.path))]  # noqa: PTH207
    stats = [(str(file), file.stat()) for file in files]
    return {
        "source": source.corpus.name,
        "path": source.path,
        "files": [{"name": name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns} for name, stat in stats],
    }


def _nli_of(name: str | None) -> dict[str, str] | None:
    """Return a model with a hash of its files, since the model behind a name may change."""
    if name is None:
        return None
    from jina_data.embed.cross_encoder import pair_scorer_sha256

    return {"model": name, "sha256": pair_scorer_sha256(name)}


def _judge_of(endpoint: Endpoint | None) -> dict[str, str] | None:
    if endpoint is None:
        return None
    return {"model": endpoint.model, "base_url": endpoint.public_url, "prompt": JUDGE_PROMPT_HASH}


def _recipe_of(name: str | None) -> str | None:
    if name is None:
        return None
    from jina_data.clean.recipe import Recipe

    return Recipe.load(name, ()).sha256
