"""The command jina-data negate."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from jina_data.cli.options import check_output, run_folder, run_switches


@click.command(name="negate")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE=PATH...")
@run_folder
@click.option(
    "--generator",
    type=click.Choice(["llm", "rules"]),
    default="llm",
    show_default=True,
    help="llm: a model on an OpenAI-compatible server; rules: rules for English, without a model.",
)
@click.option("--model", metavar="M", help="Name of the LLM on its server. Required with --generator llm.")
@click.option("--base-url", metavar="URL", help="URL of an OpenAI-compatible server. Default: the OpenAI API.")
@click.option(
    "--api-key-env",
    default="OPENAI_API_KEY",
    show_default=True,
    metavar="NAME",
    help="Environment variable that holds the API key. The key is optional with --base-url.",
)
@click.option(
    "--mode",
    type=click.Choice(["online", "batch"]),
    default="online",
    show_default=True,
    help="online: send requests directly; batch: use the OpenAI Batch API, at half the price and within 24 hours.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Use only N pairs, sampled from all sources.")
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.05,
    metavar="F",
    help="Fraction of the groups (image, premise or article) in the test split (0.05).",
)
@click.option(
    "--mix",
    metavar="KIND=SHARE,...",
    help="Shares of the kinds of negation, such as verbal=0.5,antonym=0.5. Default for llm: antonym 0.45, verbal 0.3, "
    "quantifier 0.1, affix 0.1, removal 0.05; for rules: antonym 0.8, affix 0.1, quantifier 0.05, removal 0.05.",
)
@click.option(
    "--restate",
    is_flag=True,
    help="Add pairs of a text and its paraphrase with a negated antonym: The door is open, The door is not closed.",
)
@click.option("--recipe", metavar="RECIPE", help="Clean the pairs with this recipe first, such as pairs.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Random seed.")
@click.option(
    "--pairs-per-request",
    type=click.IntRange(1, 50),
    default=1,
    show_default=True,
    metavar="N",
    help="Pairs per request.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 5),
    default=1,
    show_default=True,
    metavar="N",
    help="How often to request a rejected negative again; the prompt states the reason.",
)
@click.option(
    "--nli",
    metavar="M",
    help="NLI cross-encoder (folder or Hub name) that also checks each negative for a contradiction. Needs "
    "jina-data[torch].",
)
@click.option(
    "--judge-model",
    metavar="M",
    help="LLM judge for negatives on which the other checks disagree; one request per negative.",
)
@click.option("--judge-base-url", metavar="URL", help="URL of the server of the judge. Default: --base-url.")
@click.option(
    "--judge-api-key-env",
    metavar="NAME",
    help="Environment variable that holds the API key of the judge. Default: the key of the LLM, if both use the same "
    "server.",
)
@click.option(
    "--structured",
    type=click.Choice(["auto", "schema", "json", "text"]),
    default="auto",
    show_default=True,
    help="Response format: schema (JSON schema), json (any JSON object) or text (plain lines); auto: the first "
    "that the server accepts.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Maximum number of tokens per response. Default: 96 per pair plus 64; 256 for the judge.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=JSON",
    help="Extra request parameter, such as temperature=0.7 or reasoning_effort=low. Not sent to the judge. Repeatable.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    metavar="N",
    help="Maximum number of concurrent requests.",
)
@click.option(
    "--rpm",
    type=click.FloatRange(1),
    metavar="N",
    help="Maximum requests per minute. Default: the limit in the response headers of the server, if any.",
)
@click.option(
    "--tpm",
    type=click.FloatRange(1),
    metavar="N",
    help="Maximum tokens per minute. Default: the limit in the response headers of the server, if any.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    default=120.0,
    metavar="SECONDS",
    help="Timeout of an online request, in seconds (120).",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, 100),
    default=6,
    show_default=True,
    metavar="N",
    help="Maximum number of attempts per request.",
)
@click.option(
    "--poll-seconds",
    type=click.FloatRange(0),
    default=30.0,
    metavar="SECONDS",
    help="Time between two status checks of batches, in seconds (30).",
)
@click.option(
    "--no-wait", is_flag=True, help="Submit batches and exit. Run the same command again to fetch the results."
)
@click.option(
    "--max-cost",
    type=click.FloatRange(0, min_open=True),
    metavar="USD",
    help="Stop before the cost exceeds this, in US dollars. Requests in flight count at their maximum cost.",
)
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Price table in YAML, in US dollars per million tokens. Default: the prices in genai-prices.",
)
@click.option(
    "--price-in",
    type=click.FloatRange(0),
    metavar="USD",
    help="Price of a million input tokens, in US dollars. Requires --price-out.",
)
@click.option(
    "--price-out",
    type=click.FloatRange(0),
    metavar="USD",
    help="Price of a million output tokens, in US dollars. Requires --price-in.",
)
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A tokenizer.json that --plan uses to count tokens.",
)
@run_switches(
    overwrite="Replace an earlier run in DIR. Stored LLM responses are kept and used again.",
    plan="Print an estimate of requests, tokens and cost from a sample; send and write nothing.",
)
def command(
    sources: tuple[str, ...],
    output: Path | None,
    generator: str,
    model: str | None,
    base_url: str | None,
    api_key_env: str,
    mode: str,
    limit: int | None,
    test_fraction: float,
    mix: str | None,
    recipe: str | None,
    seed: int,
    pairs_per_request: int,
    retries: int,
    nli: str | None,
    judge_model: str | None,
    judge_base_url: str | None,
    judge_api_key_env: str | None,
    structured: str,
    max_tokens: int | None,
    params: tuple[str, ...],
    concurrency: int,
    rpm: float | None,
    tpm: float | None,
    timeout: float,
    attempts: int,
    poll_seconds: float,
    max_cost: float | None,
    prices: Path | None,
    price_in: float | None,
    price_out: float | None,
    tokenizer: Path | None,
    *,
    restate: bool,
    no_wait: bool,
    overwrite: bool,
    plan: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Generate triplets from pairs by writing a negation of each entailment.

    SOURCE=PATH names the format and the path of a file or folder. SOURCE is snli, multi_nli, sentence_compression,
    simple_wiki, coco_captions, or pairs for any table of pairs. An LLM or rules write a negative that contradicts the
    entailment, and checks accept or reject it. DIR/data holds the triplets, DIR/rejected the rejected negatives with
    their reasons, and DIR/report.html a report. To resume a stopped run, run the same command again; answered requests
    are not sent again.

    \b
    Examples:
      jina-data negate pairs=pairs.csv -o negated --generator rules
      jina-data negate snli=snli_1.0.zip -o negated --model gpt-4o-mini --plan
      jina-data negate pairs=pairs.csv -o negated --model gpt-4o-mini --max-cost 5
    """
    from jina_data.errors import JinaDataError
    from jina_data.negation.config import NegateConfig, RequestConfig
    from jina_data.negation.kinds import parse_mix
    from jina_data.negation.run import negate
    from jina_data.progress import progress_for

    check_output(output, plan=plan)
    choices: dict[str, Any] = {"generator": generator, "form": None if structured == "auto" else structured}
    ways: dict[str, Any] = {"mode": mode}
    requests = RequestConfig(
        **ways,
        api_key=os.environ.get(api_key_env) or None,
        judge_api_key=(os.environ.get(judge_api_key_env) or None) if judge_api_key_env else None,
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        timeout_seconds=timeout,
        attempts=attempts,
        poll_seconds=poll_seconds,
        wait=not no_wait,
        max_cost=max_cost,
        prices=prices,
        price_in=price_in,
        price_out=price_out,
    )
    config = NegateConfig(
        sources=sources,
        **choices,
        model=model,
        base_url=base_url,
        params=dict(map(parse_param, params)),
        max_tokens=max_tokens,
        pairs_per_request=pairs_per_request,
        retries=retries,
        seed=seed,
        limit=limit,
        test_fraction=test_fraction,
        mix=parse_mix(mix) if mix is not None else None,
        restate=restate,
        recipe=recipe,
        nli=nli,
        judge_model=judge_model,
        judge_base_url=judge_base_url,
        requests=requests,
    )
    progress = progress_for(quiet=quiet)
    if plan:
        from jina_data.negation.forecast import forecast_cost
        from jina_data.negation.table import print_forecast

        print_forecast(forecast_cost(config, output, tokenizer=tokenizer, progress=progress))
        return
    if generator == "llm" and base_url is None and requests.api_key is None:
        raise click.UsageError(
            f"no API key: set the environment variable {api_key_env}, name another variable with --api-key-env, "
            "or give the URL of another server with --base-url"
        )
    assert output is not None
    report = negate(config, output, overwrite=overwrite, progress=progress)
    if not quiet:
        from jina_data.negation.table import print_report

        print_report(report)
    if report.failure is not None:
        raise JinaDataError(report.failure)


def parse_param(text: str) -> tuple[str, Any]:
    """Parse KEY=JSON into key and value; a value that is not JSON is taken as a string."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r}: expected KEY=JSON, such as temperature=0.7", param_hint="'--param'")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
