"""Tests of the repository that publish writes: configs, columns, counts, splits, card, and excluded content."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jina_data import ExactDedup, Language, Length, Pipeline, Select
from jina_data.errors import InputError, JinaDataError, LicenseError, RunFolderError, UsageError
from jina_data.publish.card import cell, fenced, short_recipe, size_category
from jina_data.publish.checksum import Checksum
from jina_data.publish.facts import public_names, public_value
from jina_data.publish.flow import PublishConfig, write_repository
from jina_data.publish.open import open_folder
from jina_data.publish.repository import Repository
from jina_data.publish.shards import ShardWriter
from jina_data.run.files import write_json
from tests.support.files import write_jsonl, write_parquet
from tests.support.publish_runs import LICENSED, negate_run, pair_rows, pairs_run, read_json, table_run, with_manifest

datasets = pytest.importorskip("datasets")

SNLI = {"name": "snli", "license": "cc-by-sa-4.0"}
COCO = {"name": "coco_captions", "license": "cc-by-4.0"}


def write(run: Path, target: Path, options: PublishConfig = LICENSED) -> Repository:
    return write_repository(replace(options, folder=run), "me/numbers", target)


def load(repository: Repository, config: str | None = None, split: str = "train") -> Any:
    """Load a config of a repository with `datasets`, as its card describes, into a separate cache."""
    cache = str(repository.folder.parent / "cache")
    return datasets.load_dataset(str(repository.folder), config, split=split, cache_dir=cache)


def metadata(repository: Repository) -> dict[str, Any]:
    card: dict[str, Any] = yaml.safe_load((repository.folder / "README.md").read_text().split("---\n")[1])
    return card


# ------------------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize("out_format", ["parquet", "jsonl"])
def test_pairs_have_two_configs(tmp_path: Path, out_format: str) -> None:
    repository = write(pairs_run(tmp_path, out_format=out_format), tmp_path / "repo")
    rows = load(repository)
    assert rows.column_names == ["anchor", "positive"]
    assert rows["anchor"][3] == "What is number 3?"
    full = load(repository, "full")
    assert full.column_names == ["id", "question", "answer", "weight", "_file", "_row", "_source"]
    assert full["question"][:] == rows["anchor"][:]
    assert [(row["_file"], row["_row"]) for row in full] == [
        *(("one.jsonl", n) for n in range(10)),
        *(("two.parquet", n) for n in range(10)),
    ]


def test_counts_and_features_in_the_card_equal_those_of_datasets(tmp_path: Path) -> None:
    repository = write(pairs_run(tmp_path, 50), tmp_path / "repo", replace(LICENSED, test_size=0.2))
    card = metadata(repository)
    assert [config["config_name"] for config in card["configs"] if config.get("default")] == ["pair"]
    for info in card["dataset_info"]:
        files = {
            split["name"]: [
                str(path) for path in sorted((repository.folder / info["config_name"]).glob(f"{split['name']}-*"))
            ]
            for split in info["splits"]
        }
        loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"].info
        assert datasets.Features._from_yaml_list(info["features"]) == loaded.features
        for split in info["splits"]:
            counted = loaded.splits[split["name"]]
            assert (split["num_examples"], split["num_bytes"]) == (counted.num_examples, counted.num_bytes)
        sizes = [Path(path).stat().st_size for paths in files.values() for path in paths]
        assert info["download_size"] == sum(sizes)
        assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"])


TABLES: list[tuple[str, list[dict[str, Any]], dict[str, Any], list[str], list[tuple[Any, ...]]]] = [
    (
        "document",
        [{"n": 1, "content": "a text"}, {"n": 2, "content": "b text"}],
        {},
        ["text"],
        [("a text",), ("b text",)],
    ),
    ("pair", [{"q": "a b", "d": "c d"}], {"anchor": "q", "positive": "d"}, ["anchor", "positive"], [("a b", "c d")]),
    (
        "pair",
        [{"sentence1": "a b", "sentence2": "c d", "similarity": 0.5, "label": "x"}],
        {"sentence1": "sentence1", "sentence2": "sentence2"},
        ["sentence1", "sentence2", "score"],
        [("a b", "c d", 0.5)],
    ),
    (
        "triplet",
        [{"negative": "e f", "positive": "c d", "anchor": "a b"}],
        {},
        ["anchor", "positive", "negative"],
        [("a b", "c d", "e f")],
    ),
    (
        "triplet",
        [{"anchor": "a b", "positive": "c d", "negative_2": "g h", "negative_1": "e f"}],
        {},
        ["anchor", "positive", "negative_1", "negative_2"],
        [("a b", "c d", "e f", "g h")],
    ),
    (
        "triplet",
        [
            {"anchor": "a b", "positive": "c d", "negative_1": "e f", "negative_2": "g h"},
            {"anchor": "i j", "positive": "k l", "negative_1": None, "negative_2": "m n"},
        ],
        {},
        ["anchor", "positive", "negative"],
        [("a b", "c d", "e f"), ("a b", "c d", "g h"), ("i j", "k l", "m n")],
    ),
    (
        "triplet",
        [
            {"anchor": "a b", "positive": "c d", "negatives": ["e f", None, "g h"]},
            {"anchor": "i j", "positive": "k l", "negatives": ["m n"]},
        ],
        {},
        ["anchor", "positive", "negative"],
        [("a b", "c d", "e f"), ("a b", "c d", "g h"), ("i j", "k l", "m n")],
    ),
]


@pytest.mark.parametrize(("name", "rows", "roles", "columns", "expected"), TABLES)
def test_the_default_config_has_the_columns_for_training(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], roles: Mapping[str, str], columns: list[str], expected: Any
) -> None:
    repository = write(table_run(tmp_path, rows, **roles), tmp_path / "repo")
    assert repository.configs[0].name == name
    loaded = load(repository)
    assert loaded.column_names == columns
    assert [tuple(row.values()) for row in loaded] == expected
    assert load(repository, "full").num_rows == len(rows)


def test_renamed_columns_keep_their_roles(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", pair_rows(4))
    Pipeline(Select(rename={"question": "answer", "answer": "question"}, drop=("weight",))).run(
        source, tmp_path / "run"
    )
    repository = write(tmp_path / "run", tmp_path / "repo")
    assert load(repository)["anchor"][0] == "What is number 0?"
    assert load(repository, "full").column_names[:3] == ["id", "answer", "question"]


def test_types_are_preserved(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["one text", "two texts"], pa.large_string()),
            "when": pa.array([0, None], pa.timestamp("us", "UTC")),
            "tags": pa.array([["a"], None]),
            "meta": pa.array([{"n": 1, "x": [1.5]}, None]),
            "raw": pa.array([b"\x00", None]),
            "flag": pa.array([True, None]),
        }
    )
    repository = write(table_run(tmp_path, table), tmp_path / "repo")
    assert load(repository, "full").to_list()[1]["tags"] is None
    loaded = load(repository, "full").with_format("arrow")[:]
    checksum = Checksum()
    checksum.add(loaded)
    assert checksum.hexdigest() == repository.configs[1].splits[0].checksum


def test_an_unsupported_type_is_refused(tmp_path: Path) -> None:
    table = pa.table({"text": ["one text"], "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    with pytest.raises(
        InputError, match=r"column 'map' has the type map<.*Clean again without it: add `- select: \{drop: \[map\]\}`"
    ):
        write(table_run(tmp_path, table), tmp_path / "repo")


def test_scores_of_models_are_in_full(tmp_path: Path) -> None:
    source = write_parquet(
        tmp_path / "rows.parquet", [{"text": f"This is the English sentence number {n}."} for n in range(9)]
    )
    Pipeline(Length(max_words=6), Language(languages=("en",))).run(source, tmp_path / "none", limit=1)
    Pipeline(Language(languages=("en",)), ExactDedup()).run(source, tmp_path / "run")
    repository = write(tmp_path / "run", tmp_path / "repo")
    full = load(repository, "full")
    scores = ["language", "probability", "wanted_probability"]
    assert full.column_names[-3:] == [f"_language_text_{score}" for score in scores]
    assert full["_language_text_language"][:] == ["en"] * 9
    assert metadata(repository)["language"] == ["en"]


# -------------------------------------------------------------------------------------------------- shards, bytes


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = pairs_run(tmp_path)
    first, second = (write(run, tmp_path / name, replace(LICENSED, test_size=3)) for name in ("a", "b"))
    assert first.files == second.files
    assert first.configs == second.configs


def test_shards_are_cut_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jina_data.publish.shards.GROUP_BYTES", 2000)
    monkeypatch.setattr("jina_data.publish.clean_run.BATCH_ROWS", 20)
    repository = write(pairs_run(tmp_path, 200), tmp_path / "repo", replace(LICENSED, shard_bytes=500))
    names = sorted(path.name for path in (repository.folder / "pair").iterdir())
    assert len(names) > 2
    assert names == [f"train-{number:05d}-of-{len(names):05d}.parquet" for number in range(len(names))]
    assert load(repository)["anchor"][:] == [f"What is number {n}?" for n in range(200)]


def test_discarding_a_shard_writer_removes_its_files(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int64())])
    writer = ShardWriter(tmp_path, "pair", "train", schema=schema, shard_bytes=1)
    writer.add(pa.table({"a": [1]}))
    writer._write_group()
    writer.discard()
    assert list((tmp_path / "pair").iterdir()) == []


CUTS = [(10,), (1, 9), (3, 3, 4), (2,) * 5]


@pytest.mark.parametrize("cut", CUTS)
def test_a_checksum_does_not_depend_on_batches(cut: Sequence[int]) -> None:
    table = pa.table(
        {
            "text": pa.array(["ä", None, "", "bc", "b", "c", None, "d", "e", "f"]),
            "list": pa.array([["a"], [], None, ["b", None], ["c"], None, [], ["d"], ["e"], [""]]),
            "struct": pa.array([{"a": 1}, None, {"a": None}, *({"a": n} for n in range(7))]),
            "number": pa.array([1, None, 0, *range(7)], pa.int32()),
        }
    )
    whole, pieces, large = Checksum(), Checksum(), Checksum()
    whole.add(table)
    start = 0
    for n_rows in cut:
        pieces.add(table.slice(start, n_rows))
        start += n_rows
    large.add(table.set_column(0, "text", table["text"].cast(pa.large_string())))
    assert pieces.hexdigest() == whole.hexdigest() == large.hexdigest()


DIFFERENT: list[list[Any]] = [["a", "b"], ["b", "a"], ["ab", ""], [None, "ab"], ["ab"], ["a", "b", None]]


def test_checksums_of_different_rows_differ() -> None:
    sums = []
    for texts in DIFFERENT:
        checksum = Checksum()
        checksum.add(pa.table({"text": pa.array(texts, pa.string())}))
        sums.append(checksum.hexdigest())
    assert len(set(sums)) == len(DIFFERENT)


# ------------------------------------------------------------------------------------------------ excluded content


def sources_run(folder: Path) -> Path:
    rows = [{"text": f"a text {n}", "origin": "snli" if n % 3 else "blog"} for n in range(9)]
    return table_run(folder, rows, text="text", source="origin")


def test_sources_are_excluded(tmp_path: Path) -> None:
    options = PublishConfig(folder=".", excluded_sources=["blog"])
    repository = write(sources_run(tmp_path), tmp_path / "repo", options)
    assert set(load(repository, "full")["origin"][:]) == {"snli"}
    card = (repository.folder / "README.md").read_text()
    assert metadata(repository)["license"] == "cc-by-sa-4.0"
    assert "| snli | 6 | cc-by-sa-4.0 | SNLI |" in card
    assert "Excluded: 3 rows of blog." in card


def test_an_unknown_license_is_refused_with_sources_and_rows(tmp_path: Path) -> None:
    run = sources_run(tmp_path)
    with pytest.raises(LicenseError, match="3 rows come from sources whose license you must decide:\n  blog: 3 rows"):
        write(run, tmp_path / "repo", PublishConfig(folder="."))
    assert not (tmp_path / "repo").exists()
    repository = write(run, tmp_path / "repo", PublishConfig(folder=".", source_licenses={"blog": "mit"}))
    assert metadata(repository)["license"] == "cc-by-sa-4.0"


def test_a_recipe_states_licenses(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", pair_rows(3))
    (tmp_path / "my.yaml").write_text("licenses: {rows.jsonl: odc-by}\nstages:\n  - length: {min_words: 1}\n")
    Pipeline.from_recipe(str(tmp_path / "my.yaml")).run(source, tmp_path / "run")
    repository = write(tmp_path / "run", tmp_path / "repo", PublishConfig(folder="."))
    assert metadata(repository)["license"] == "odc-by"
    assert yaml.safe_load((repository.folder / "recipe.yaml").read_text())["licenses"] == {"rows.jsonl": "odc-by"}


def test_the_license_other_has_a_page(tmp_path: Path) -> None:
    repository = write(pairs_run(tmp_path), tmp_path / "repo", replace(LICENSED, license="other"))
    assert metadata(repository)["license_link"] == "LICENSE.md"
    assert "- one.jsonl: unknown" in (repository.folder / "LICENSE.md").read_text()


def test_no_local_folder_is_published(tmp_path: Path) -> None:
    home = tmp_path / "jane"
    run = pairs_run(home)
    Pipeline(Length(), ExactDedup(against=(str(run),))).run(home / "one.jsonl", home / "other", limit=3)
    for name in ("run-parquet", "other"):
        if name == "other" and not read_json(home / name / "report.json")["rows"]["kept"]:
            continue
        repository = write(home / name, tmp_path / f"repo-{name}")
        for file in repository.files:
            assert b"jane" not in (repository.folder / file.path).read_bytes(), file.path


def test_file_names_lose_their_shared_folder() -> None:
    names = ["/a/b/c/x.jsonl", "/a/b/d/x.jsonl", "https://jane:word@example.com/y.csv?key=1#x", "datasets:me/z?split=a"]
    public = ["c/x.jsonl", "d/x.jsonl", "https://example.com/y.csv", "datasets:me/z?split=a"]
    assert list(public_names(names).values()) == public
    assert public_names(["/a/b/c.csv"]) == {"/a/b/c.csv": "c.csv"}
    settings = {"a": ["/home/jane/x", "w != '/'", 1], "b": "s3://key:word@bucket/x?y"}
    assert public_value(settings) == {"a": [".../x", "w != '/'", 1], "b": "s3://bucket/x"}


# ------------------------------------------------------------------------------------------------------- negations


def test_negations_are_triplets_with_the_splits_of_their_run(tmp_path: Path) -> None:
    repository = write(negate_run(tmp_path, [SNLI, COCO]), tmp_path / "repo", PublishConfig(folder="."))
    card = metadata(repository)
    assert card["license"] == "cc-by-sa-4.0"
    assert "synthetic" in card["tags"]
    assert card["annotations_creators"] == ["machine-generated"]
    for split, n_rows in (("train", 18), ("test", 6)):
        rows, full = load(repository, split=split), load(repository, "full", split)
        assert rows.column_names == ["anchor", "entailment", "negative"]
        assert (rows.num_rows, full.num_rows) == (n_rows, n_rows)
        assert full.column_names[-1] == "prompt_hash"
    page = (repository.folder / "README.md").read_text()
    assert "Write a negative: one sentence that cannot be true when the anchor is true" in page
    assert "| write and check | 29 | 5 | 24 | 82.8 % | low\\_overlap 3, unanswered 2 |" in page
    assert "negatives were written by some-model and checked" in page
    for line in (
        "kinds: verbal 24",
        "cost: 1.75 USD",
        "judge: a-judge",
        "accuracy of a classifier on negation words alone: 80.0% (50 % = chance)",
    ):
        assert f"- {line}" in page
    assert "- Beware of dogs." in page
    assert "jina-data was tested with scripted servers and models with random weights" in page
    assert "as in the source" not in page


def test_negations_of_the_rules_are_published(tmp_path: Path) -> None:
    from jina_data import NegateConfig, RequestConfig, negate

    table = tmp_path / "pairs.csv"
    lines = [f"{n} dogs are running in the snow.,The dogs are outside in place {n}." for n in range(40)]
    table.write_text("anchor,entailment\n" + "\n".join(lines) + "\n")
    settings = NegateConfig(sources=[f"pairs={table}"], generator="rules", test_fraction=0.2)
    report = negate(replace(settings, requests=RequestConfig()), tmp_path / "run")
    options = PublishConfig(folder=".", license="cc-by-4.0")
    repository = write(tmp_path / "run", tmp_path / "repo", options)
    counts = {split.name: split.rows for split in repository.configs[0].splits}
    assert counts == dict(report.splits)
    page = (repository.folder / "README.md").read_text()
    assert "written by rules, not by an LLM" in page
    assert "The negatives were written by rules, without an LLM." in page
    assert "as in the source" not in page


def test_negations_of_a_source_without_a_license_are_refused_until_it_is_excluded(tmp_path: Path) -> None:
    run = negate_run(tmp_path, [SNLI, {"name": "sentence_compression", "license": None}])
    with pytest.raises(
        LicenseError, match=r"sentence_compression: 12 rows, no license known \(sentence-compression: no"
    ):
        write(run, tmp_path / "repo", PublishConfig(folder="."))
    repository = write(run, tmp_path / "repo", PublishConfig(folder=".", excluded_sources=["sentence_compression"]))
    assert sum(split.rows for split in repository.configs[0].splits) == 12


def test_negations_keep_their_own_split(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--test-size: the run already has a test split"):
        write(negate_run(tmp_path, [SNLI]), tmp_path / "repo", PublishConfig(folder=".", test_size=0.5))


# ------------------------------------------------------------------------------------------------------------ card


def test_the_card_passes_the_hubs_own_classes(tmp_path: Path) -> None:
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard, DatasetCardData

    repository = write(pairs_run(tmp_path), tmp_path / "repo")
    card = DatasetCard.load(repository.folder / "README.md")
    assert isinstance(card.data, DatasetCardData)
    assert card.data.get("size_categories") == ["n<1K"]
    assert MetadataConfigs.from_dataset_card_data(card.data).get_default_config_name() == "pair"
    assert set(DatasetInfosDict.from_dataset_card_data(card.data)) == {"pair", "full"}
    assert str(DatasetCard(str(card)).data) == str(card.data)


def test_the_card_contains_the_funnel_and_the_recipe(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*pair_rows(9), {"question": "x", "answer": "y"}, "broken"])
    Pipeline(Length(min_words=2), ExactDedup(roles=("positive",))).run(source, tmp_path / "run")
    page = (write(tmp_path / "run", tmp_path / "repo").folder / "README.md").read_text()
    assert "| read | 11 | 1 | 10 | 90.9 % | unreadable 1 |" in page
    assert "| length | 10 | 1 | 9 | 81.8 % | too\\_short 1 |" in page
    assert "| exact\\_dedup | 9 | 1 | 8 | 72.7 % | exact\\_duplicate 1 |" in page
    assert "- length:\n    min_words: 2\n- exact_dedup:\n    roles:\n    - positive" in page
    assert re.search(r"^- jina-data \d", page, re.MULTILINE)
    assert "\n\n\n" not in page
    assert "@misc{me-numbers,\n  title = {numbers}," in page


def test_texts_cannot_break_the_card(tmp_path: Path) -> None:
    rows = [{"text": "```\n# Not a heading\n<script>| a | b |", "a|b": "x"}]
    page = (write(table_run(tmp_path, rows), tmp_path / "repo").folder / "README.md").read_text()
    assert "\n# Not a heading" not in page
    assert "| a\\|b | string |" in page
    assert fenced("a ``` b").startswith("````\n")
    assert cell("a\n| <b> `c`") == "a \\| \\<b\\> \\`c\\`"


@pytest.mark.parametrize(
    ("rows", "bucket"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**11 - 1, "10B<n<100B"), (10**13, "n>1T")],
)
def test_size_categories(rows: int, bucket: str) -> None:
    assert size_category(rows) == bucket


def test_a_recipe_is_shortened_to_its_changes() -> None:
    recipe = {"columns": {}, "seed": 1, "stages": [{"length": Length(min_words=2).model_dump(mode="json")}]}
    assert short_recipe(yaml.safe_dump(recipe)) == "seed: 1\nstages:\n- length:\n    min_words: 2\n"


# ---------------------------------------------------------------------------------------------------------- errors


def altered(run: Path) -> None:
    path = run / "data" / "part-00000.parquet"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def grown(run: Path) -> None:
    with (run / "data" / "part-00000.parquet").open("ab") as sink:
        sink.write(b"x")


def other_kind(run: Path) -> None:
    write_json(run / "manifest.json", {**read_json(run / "manifest.json"), "kind": "bake"})


BROKEN: list[tuple[Any, str]] = [
    (
        altered,
        r"part-00000\.parquet was altered after the run finished \(its sha256 differs\); only the unchanged output",
    ),
    (grown, r"part-00000\.parquet has [\d,]+ bytes, but had [\d,]+ when the run finished"),
    (lambda run: (run / "report.json").unlink(), r"report\.json cannot be read|report\.json is missing"),
    (
        lambda run: (run / "data" / "part-00001.parquet").write_bytes(b""),
        r"part-00001\.parquet is not in .*manifest\.json",
    ),
    (lambda run: (run / "manifest.json").unlink(), r"holds no run; expected the folder of a finished run"),
    (other_kind, r"kind 'bake' cannot be published; expected clean, mine, negate, or the folder of a model"),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_a_damaged_run_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    run = pairs_run(tmp_path)
    damage(run)
    with pytest.raises(RunFolderError, match=message) as raised:
        open_folder(run)
    assert "\n" not in str(raised.value)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    run = pairs_run(tmp_path)
    (run / ".work").mkdir()
    (run / ".work" / "run.json").write_text("{}")
    with pytest.raises(RunFolderError, match="a new run in this folder is unfinished"):
        open_folder(run)
    (run / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match="holds an unfinished run; run its command again to resume it"):
        open_folder(run)
    with pytest.raises(RunFolderError, match="no such folder"):
        open_folder(tmp_path / "nowhere")


OPTIONS: list[tuple[PublishConfig, type[JinaDataError], str]] = [
    (replace(LICENSED, excluded_sources=["rows"]), UsageError, r"--exclude-source rows: no such source\. Did you mean"),
    (replace(LICENSED, excluded_sources=["rows.parquet"]), RunFolderError, "excludes all sources"),
    (replace(LICENSED, license="cc"), UsageError, "--license: 'cc' is not a license id of the Hub"),
    (replace(LICENSED, source_licenses={"x": "mit"}), UsageError, "--source-license x: no such source"),
    (replace(LICENSED, test_size=9), UsageError, "--test-size: a test split of 9 of 1 rows"),
]


@pytest.mark.parametrize(("options", "kind", "message"), OPTIONS)
def test_wrong_options_are_refused(
    tmp_path: Path, options: PublishConfig, kind: type[JinaDataError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        write(table_run(tmp_path, [{"text": "one text"}]), tmp_path / "repo", options)
    assert not (tmp_path / "repo").exists()
    assert not list(tmp_path.glob(".repo*"))


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    run = table_run(tmp_path, [{"text": ""}])
    with pytest.raises(RunFolderError, match="kept no row, so there is nothing to publish"):
        write(run, tmp_path / "repo")


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    run = pairs_run(tmp_path)
    with pytest.raises(RunFolderError, match="exists and is not an empty folder"):
        write(run, tmp_path)


def test_negations_with_different_row_counts_are_refused(tmp_path: Path) -> None:
    run = negate_run(tmp_path, [SNLI])
    path = run / "data" / "triplet" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    manifest = read_json(run / "manifest.json")
    (run / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match=r"data/triplet has 8 rows for train, data/full 9"):
        open_folder(with_manifest(run, manifest))


def test_the_work_folder_of_a_failed_publish_does_not_stop_a_new_run(tmp_path: Path) -> None:
    run = pairs_run(tmp_path)
    (run / ".publish").mkdir()
    (run / ".publish" / "built.json").write_text(json.dumps({}))
    Pipeline(Length(min_words=3)).run(tmp_path / "one.jsonl", run, overwrite=True)
    assert not (run / ".publish").exists()
