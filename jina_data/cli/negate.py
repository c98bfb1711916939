"""jina-data negate."""

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
    help="Who writes: an LLM behind a server, or rules, which ask nobody.",
)
@click.option("--model", metavar="M", help="The LLM, as its server names it.")
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible server. Default: that of OpenAI.")
@click.option(
    "--api-key-env",
    default="OPENAI_API_KEY",
    show_default=True,
    metavar="NAME",
    help="The environment variable that holds the key. A server of your own needs none.",
)
@click.option(
    "--mode",
    type=click.Choice(["online", "batch"]),
    default="online",
    show_default=True,
    help="Ask one by one, or through OpenAI's Batch API at half the price, within a day.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only N pairs, a sample of all.")
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.05,
    metavar="F",
    help="The share of groups (image, premise, article) that goes to the split test (0.05).",
)
@click.option(
    "--mix",
    metavar="KIND=SHARE,...",
    help="The shares of the kinds verbal, quantifier, antonym, affix and removal. Default: nearly half antonyms, of "
    "rules four fifths.",
)
@click.option(
    "--restate",
    is_flag=True,
    help="Add pairs of a text and its paraphrase by a negated opposite: The door is open, The door is not closed.",
)
@click.option("--recipe", metavar="RECIPE", help="A recipe of clean that runs on the pairs first, such as pairs.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of all choices.")
@click.option(
    "--pairs-per-request",
    type=click.IntRange(1, 50),
    default=1,
    show_default=True,
    metavar="N",
    help="Pairs that one request asks for.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 5),
    default=1,
    show_default=True,
    metavar="N",
    help="How often a rejected pair is asked for again, with the reason.",
)
@click.option(
    "--nli",
    metavar="M",
    help="A cross-encoder for natural language inference that must see the contradiction, too (jina-data[torch]).",
)
@click.option(
    "--judge-model",
    metavar="M",
    help="An LLM that is asked where the other checks disagree, one request for each negative.",
)
@click.option("--judge-base-url", metavar="URL", help="The server of the judge. Default: that of --base-url.")
@click.option(
    "--judge-api-key-env",
    metavar="NAME",
    help="The variable with the key of the judge. Default: --api-key-env, where both ask the same server.",
)
@click.option(
    "--structured",
    type=click.Choice(["auto", "schema", "json", "text"]),
    default="auto",
    show_default=True,
    help="The form of answers; auto: by JSON schema, and by less where the server refuses it.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Tokens that an answer may have. Default: 96 for each pair and 64 more.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=JSON",
    help="A parameter of the request, such as temperature=0.7 or reasoning_effort=low.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    metavar="N",
    help="Requests that are under way at once, at most.",
)
@click.option("--rpm", type=click.FloatRange(1), metavar="N", help="Requests a minute, at most. Learned if not given.")
@click.option("--tpm", type=click.FloatRange(1), metavar="N", help="Tokens a minute, at most. Learned if not given.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    default=120.0,
    metavar="SECONDS",
    help="How long an answer may take (120).",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, 100),
    default=6,
    show_default=True,
    metavar="N",
    help="How often a request is sent whose answer fails.",
)
@click.option(
    "--poll-seconds",
    type=click.FloatRange(0),
    default=30.0,
    metavar="SECONDS",
    help="How often batches are looked after (30).",
)
@click.option("--no-wait", is_flag=True, help="Hand batches in and end; the same command fetches them later.")
@click.option(
    "--max-cost",
    type=click.FloatRange(0, min_open=True),
    metavar="USD",
    help="Stop before this is exceeded, with all that is under way counted in full.",
)
@click.option("--prices", type=click.Path(path_type=Path), metavar="FILE", help="A table of prices of your own (YAML).")
@click.option("--price-in", type=click.FloatRange(0), metavar="USD", help="The price of a million tokens in.")
@click.option("--price-out", type=click.FloatRange(0), metavar="USD", help="The price of a million tokens out.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A tokenizer.json with which --plan counts tokens.",
)
@run_switches(
    overwrite="Replace an earlier run in DIR; answers in its ledger are kept.",
    plan="Tell requests, tokens and cost from a sample; send and write nothing.",
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
    """Write negations of the entailments of pairs: triplets of anchor, entailment and negative.

    SOURCE=PATH names a file or folder, and what it holds: snli, multi_nli, sentence_compression, simple_wiki,
    coco_captions, or pairs for any table of pairs. An LLM or rules write a negative for each pair; checks accept or
    reject it. The triplets are in DIR/data, what was rejected with its reasons in DIR/rejected, and a report in
    DIR/report.html. A run that was stopped goes on when the same command is given again; no answer is asked for twice.
    """
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
        from jina_data.negation.forecast import foresee
        from jina_data.negation.table import print_outlook

        print_outlook(foresee(config, output, tokenizer=tokenizer, progress=progress))
        return
    if generator == "llm" and base_url is None and requests.api_key is None:
        raise click.UsageError(
            f"there is no key: set the environment variable {api_key_env}, name another with --api-key-env, "
            "or name a server of your own with --base-url"
        )
    assert output is not None
    report = negate(config, output, overwrite=overwrite, progress=progress)
    if not quiet:
        from jina_data.negation.table import print_report

        print_report(report)


def parse_param(text: str) -> tuple[str, Any]:
    """Read KEY=JSON; what is not JSON is a string."""
    name, is_named, value = text.partition("=")
    if not is_named or not name:
        raise click.BadParameter(f"{text!r}: expected KEY=JSON, such as temperature=0.7", param_hint="'--param'")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
