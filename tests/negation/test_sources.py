"""The sources: every raw format gives the same pairs; choice, split and counts follow the rules."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jina_data.english.texts import detokenised, sentence_count
from jina_data.errors import InputError, UsageError
from jina_data.negation.corpora import CORPORA, REASONS
from jina_data.negation.kinds import parse_mix
from jina_data.negation.pairs import Pair
from jina_data.negation.sources import parse_source, read_counts, read_pairs, write_pairs
from tests.support.files import write_csv, write_jsonl, write_parquet

NLI: list[dict[str, Any]] = [
    {"sentence1": "A man plays a guitar.", "sentence2": "A man plays music.", "gold_label": "entailment", "n": 0},
    {"sentence1": "A man plays a guitar.", "sentence2": "Somebody plays.", "gold_label": "entailment", "n": 1},
    {"sentence1": "A dog runs.", "sentence2": "An animal moves.", "gold_label": "entailment", "n": 2},
    {"sentence1": "A dog runs.", "sentence2": "A cat runs.", "gold_label": "contradiction", "n": 0},
    {"sentence1": "A boy eats.", "sentence2": "a boy eats", "gold_label": "entailment", "n": 0},
    {"sentence1": "A girl eats.", "sentence2": "A girl is full.", "gold_label": "-", "n": 0},
    {"sentence1": "A bird sings.", "sentence2": "", "gold_label": "entailment", "n": 0},
]
SNLI = [
    {
        "gold_label": row["gold_label"],
        "sentence1_binary_parse": "( x )",
        "sentence2_parse": "(ROOT x)",
        "sentence1": row["sentence1"],
        "sentence2": row["sentence2"],
        "captionID": f"{100 + number // 2}.jpg#{number % 5}",
        "pairID": f"{100 + number // 2}.jpg#{number % 5}r{number}",
        "label1": row["gold_label"],
    }
    for number, row in enumerate(NLI)
]
SNLI_LOST = {"not_entailment": 1, "same_text": 1, "no_gold_label": 1, "missing_text": 1, "group_taken": 1}


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def tabbed(rows: list[dict[str, Any]]) -> str:
    return "\n".join(["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]) + "\n"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def packed(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


def zipped(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def pairs_of(*sources: str, folder: Path, **settings: Any) -> list[Pair]:
    path = folder / "pairs.parquet"
    write_pairs(sources, path, **settings)
    return list(read_pairs(path))


def texts(pairs: list[Pair]) -> set[tuple[str, str]]:
    return {(pair.anchor, pair.entailment) for pair in pairs}


SNLI_FORMS: list[tuple[str, Callable[[Path], Path]]] = [
    ("jsonl", lambda folder: write_jsonl(folder / "snli_1.0_train.jsonl", SNLI)),
    ("jsonl.gz", lambda folder: packed(folder / "snli_1.0_train.jsonl.gz", lines(SNLI))),
    ("txt", lambda folder: written(folder / "snli_1.0_train.txt", tabbed(SNLI))),
    ("txt.gz", lambda folder: packed(folder / "snli_1.0_train.txt.gz", tabbed(SNLI))),
    (
        "zip",
        lambda folder: zipped(
            folder / "snli_1.0.zip",
            {
                "snli_1.0/README.txt": "read me",
                "snli_1.0/snli_1.0_train.jsonl": lines(SNLI),
                "snli_1.0/snli_1.0_train.txt": tabbed(SNLI),
                "snli_1.0/snli_1.0_test.jsonl": lines(SNLI[2:3]),
                "__MACOSX/snli_1.0/._snli_1.0_train.jsonl": "x",
            },
        ),
    ),
    ("folder", lambda folder: written(folder / "raw" / "snli_1.0_train.txt", tabbed(SNLI)).parent),
    ("parquet", lambda folder: write_parquet(folder / "snli.parquet", SNLI)),
    ("csv", lambda folder: write_csv(folder / "snli.csv", SNLI)),
]


@pytest.mark.parametrize(("form", "make"), SNLI_FORMS, ids=[form for form, _ in SNLI_FORMS])
def test_snli_in_every_form(form: str, make: Callable[[Path], Path], tmp_path: Path) -> None:
    source = make(tmp_path)
    path = tmp_path / "out" / "pairs.parquet"
    counts = write_pairs([f"snli={source}"], path)
    pairs = list(read_pairs(path))
    assert counts.rows == {"snli": 7}
    assert counts.unusable == {"snli": SNLI_LOST}
    assert counts == read_counts(path)
    assert {pair.anchor for pair in pairs} == {"A man plays a guitar.", "A dog runs."}
    assert all(pair.source_license == "cc-by-sa-4.0" and pair.source_id.startswith("10") for pair in pairs)
    assert {pair.group for pair in pairs} == {"captionID:100.jpg", "captionID:101.jpg"}  # the image, not the caption
    assert list((tmp_path / "out").iterdir()) == [path]  # unpacked files are removed


def test_labels_as_numbers_are_those_of_the_hub(tmp_path: Path) -> None:
    rows = [
        {"premise": f"Text {n} here.", "hypothesis": f"Text {n}.", "label": n - 1, "promptID": n, "pairID": f"{n}e"}
        for n in range(4)
    ]
    pairs = pairs_of(f"multi_nli={write_parquet(tmp_path / 'nli.parquet', rows)}", folder=tmp_path)
    assert [(pair.anchor, pair.group, pair.source_id) for pair in pairs] == [("Text 1 here.", "promptID:1", "1e")]
    assert read_counts(tmp_path / "pairs.parquet").unusable["multi_nli"] == {"no_gold_label": 1, "not_entailment": 2}


COMPRESSIONS: list[dict[str, Any]] = [
    {
        "graph": {"id": f"g{n}", "sentence": f"The council , on day {n} , plans a vote .", "node": [{"form": "x"}]},
        "compression": {"text": f"The council plans a vote {n} .", "edge": [{"parent_id": 1}]},
        "headline": "Vote",
        "doc_id": f"d{n // 2}",
    }
    for n in range(4)
]


@pytest.mark.parametrize("name", ["comp-data.eval.json.gz", "sent-comp.train01.json"])
def test_sentence_compression(name: str, tmp_path: Path) -> None:
    text = "\n\n".join(json.dumps(row, indent=2) for row in COMPRESSIONS) + "\n\n"
    source = packed(tmp_path / name, text) if name.endswith(".gz") else written(tmp_path / name, text)
    pairs = pairs_of(f"sentence_compression={source}", folder=tmp_path)
    assert texts(pairs) == {
        (f"The council, on day {n}, plans a vote.", f"The council plans a vote {n}.") for n in range(4)
    }
    assert {pair.group for pair in pairs} == {"doc_id:d0", "doc_id:d1"}
    assert {pair.source_license for pair in pairs} == {None}


ALIGNED = {
    "normal.aligned": "Art\t0\tHe was n't `` here '' -LRB- then -RRB- .\nArt\t1\tTwo men 's hats are red .\nBad line\n",
    "simple.aligned": "Art\t0\tHe was not here .\nArt\t1\tHats are red .\nBad line\n",
}


@pytest.mark.parametrize("form", ["folder", "file", "simple", "zip", "tar.gz"])
def test_simple_wiki(form: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name, text in ALIGNED.items():
        written(raw / name, text)
    source = {"folder": raw, "file": raw / "normal.aligned", "simple": raw / "simple.aligned"}.get(form)
    if form == "zip":
        source = zipped(tmp_path / "wiki.zip", {f"sentence-aligned.v2/{name}": text for name, text in ALIGNED.items()})
    if form == "tar.gz":
        source = tmp_path / "sentence-aligned.v2.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            for name, text in ALIGNED.items():
                entry = tarfile.TarInfo(f"sentence-aligned.v2/{name}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
    pairs = pairs_of(f"simple_wiki={source}", folder=tmp_path)
    assert texts(pairs) == {
        ('He wasn\'t "here" (then).', "He was not here."),
        ("Two men's hats are red.", "Hats are red."),
    }
    assert {pair.group for pair in pairs} == {"title:Art"}
    assert read_counts(tmp_path / "pairs.parquet").unusable["simple_wiki"] == {"unreadable": 1}


CAPTIONS: dict[str, Any] = {
    "info": {"description": 'the "annotations": [ of captions'},
    "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(3)],
    "annotations": [
        {"image_id": image, "id": 10 * image + n, "caption": f"Caption {n} [of] image {image}."}
        for image in range(3)
        for n in range(3 - image)
    ]
    + [{"image_id": 2, "id": 29, "caption": "caption 0 (of) image 2"}],
}


@pytest.mark.parametrize("form", ["json", "json.gz", "zip", "parquet"])
def test_coco_captions(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jina_data.negation.raw.CHUNK_CHARS", 50)
    text = json.dumps(CAPTIONS)
    source = tmp_path / f"captions_train2017.{form}"
    if form == "zip":
        zipped(source, {"annotations/captions_train2017.json": text, "annotations/instances_train2017.json": "{}"})
    elif form == "parquet":
        write_parquet(source, CAPTIONS["annotations"])
    else:
        packed(source, text) if form.endswith("gz") else written(source, text)
    pairs = pairs_of(f"coco_captions={source}", folder=tmp_path)
    assert sorted(pair.group for pair in pairs) == ["image_id:0", "image_id:1"]
    assert all(pair.anchor != pair.entailment and pair.anchor[-8:] == pair.entailment[-8:] for pair in pairs)
    counts = read_counts(tmp_path / "pairs.parquet")
    lost = {"group_taken": 1, "other_half": 2, "same_text": 1, "single_caption": 1}
    assert counts.unusable["coco_captions"] == lost
    assert counts.rows["coco_captions"] == 7


def test_any_table_of_pairs_and_its_own_licences(tmp_path: Path) -> None:
    rows = [{"anchor": f"The text {n}.", "positive": f"Text {n}.", "group": f"g{n}"} for n in range(3)]
    pairs = pairs_of(f"pairs={write_jsonl(tmp_path / 'a.jsonl', rows)}", folder=tmp_path)
    assert {(pair.source, pair.source_license, pair.group) for pair in pairs} == {
        ("pairs", None, "g0"),
        ("pairs", None, "g1"),
        ("pairs", None, "g2"),
    }
    # The written pairs can be cleaned and read: source, id, licence and group stay.
    texts = {"anchor": "The text.", "entailment": "Text."}
    own = {"id": "i", "source": "mine", "source_id": "7", "source_license": "cc0-1.0", "group": "g7", **texts}
    again = pairs_of(f"pairs={write_parquet(tmp_path / 'b.parquet', [own])}", folder=tmp_path)
    assert [(pair.source, pair.source_id, pair.source_license, pair.group) for pair in again] == [
        ("mine", "7", "cc0-1.0", "g7")
    ]


def many(folder: Path, n_rows: int = 2000) -> str:
    rows = [
        {
            "anchor": f"The {n}th man is not always happy in room {n % 700}.",
            "entailment": f"{'Some' if n % 3 else 'No'} man {n} is {'un' * (n % 5 == 0)}happy.",
            "group": f"room {n % 700}",
        }
        for n in range(n_rows)
    ]
    return f"pairs={write_parquet(folder / 'many.parquet', rows)}"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    source = many(tmp_path)
    for number, seed in enumerate((1, 1, 2)):
        write_pairs([source], tmp_path / f"{number}.parquet", seed=seed)
    first, second, third = ((tmp_path / f"{n}.parquet").read_bytes() for n in range(3))
    assert first == second != third


def test_a_group_is_in_one_split(tmp_path: Path) -> None:
    pairs = pairs_of(many(tmp_path), folder=tmp_path, test_fraction=0.3)
    splits: dict[str, set[str]] = {}
    for pair in pairs:
        splits.setdefault(pair.group, set()).add(pair.split)
    assert all(len(names) == 1 for names in splits.values())
    share = sum(names == {"test"} for names in splits.values()) / len(splits)
    assert 0.25 < share < 0.35


def test_a_number_of_groups_for_the_test_split(tmp_path: Path) -> None:
    source = many(tmp_path)
    pairs = pairs_of(source, folder=tmp_path, test_groups=40, limit=500)
    assert len(pairs) == 500
    assert len({pair.group for pair in pairs if pair.split == "test"}) == 40
    assert read_counts(tmp_path / "pairs.parquet").unusable["pairs"]["over_limit"] == 1500
    assert not [pair for pair in pairs_of(source, folder=tmp_path, test_groups=0) if pair.split == "test"]
    with pytest.raises(InputError, match="have 700 groups, fewer than the 701"):
        pairs_of(source, folder=tmp_path, test_groups=701)


def test_the_limit_takes_a_prefix(tmp_path: Path) -> None:
    source = many(tmp_path)
    all_pairs = pairs_of(source, folder=tmp_path)
    assert [p.id for p in pairs_of(source, folder=tmp_path, limit=99)] == [p.id for p in all_pairs[:99]]
    assert [p.id for p in read_pairs(tmp_path / "pairs.parquet", start=90)] == [p.id for p in all_pairs[90:99]]
    assert len({pair.id for pair in all_pairs}) == len(all_pairs)


def test_the_mix_of_kinds(tmp_path: Path) -> None:
    mix = parse_mix("verbal=3, antonym=3, quantifier=2, affix=1, removal=1")
    pairs = pairs_of(many(tmp_path), folder=tmp_path, mix=mix)
    shares = {kind: count / len(pairs) for kind, count in Counter(pair.kind for pair in pairs).items()}
    assert shares == pytest.approx(
        {"verbal": 0.3, "antonym": 0.3, "quantifier": 0.2, "affix": 0.1, "removal": 0.1}, abs=0.05
    )
    assert all("No " in pair.entailment for pair in pairs if pair.kind == "removal")


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("verbal", "expected a number after verbal="),
        ("verbals=1", "unknown kind 'verbals'"),
        ("removal=1", "give verbal or antonym a share"),
        ("verbal=-1,antonym=2", "expected shares of 0 or more"),
        ("verbal=0", "expected shares of 0 or more"),
    ],
)
def test_mixes_that_cannot_be(mix: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_mix(mix)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("snli.jsonl", "expected NAME=PATH"),
        ("snli=", "expected NAME=PATH"),
        ("squad=x.json", "unknown source 'squad'.*pairs=PATH"),
    ],
)
def test_sources_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_source(text)
    assert parse_source("multi-nli=a=b").path == "a=b"


BROKEN: list[tuple[str, str, str, str]] = [
    ("snli", "x.jsonl", '{"a": "b"}\n', "x.jsonl: no columns of pairs among a. Expected anchor/entailment"),
    ("snli", "x.csv", "premise,hypothesis\na,b\n", "x.csv: columns premise and hypothesis, but no column 'label'"),
    ("snli", "x.jsonl", '{"anchor": "a", "entailment": "A"}\n', "no row of the sources is a pair.*same_text"),
    ("simple_wiki", "normal.aligned", "a\t0\tb\n", "simple.aligned is missing in the same folder"),
    ("coco_captions", "c.json", '{"info": {}, "images": []}', 'c.json: it has no list "annotations"'),
    (
        "coco_captions",
        "c.json",
        '{"info": {}, "annotations": [{"image_id": 1, "cap',
        "ends after 0 captions without a closing bracket",
    ),
    ("snli", "x.txt", "", "x.txt: no columns of pairs"),
    ("pairs", "x.csv", "sentence1,sentence2,score\na,b,0.1\n", "come with 'score'.*--where CONDITION"),
    ("pairs", "x.csv", "sentence1,sentence2,is_duplicate\na,b,0\n", "come with 'is_duplicate'"),
    ("pairs", "x.csv", "sentence1,sentence2,label\na,b,1\n", "x.csv:0: .*the label 1. In some datasets 0 marks"),
    ("pairs", "x.jsonl", '{"sentence1": "a", "sentence2": "b", "label": 4.9}\n', "have the label 4.9"),
    ("snli", "x.zip", "no archive", "x.zip: could not be read"),
    ("snli", "x.docx", "x", "x.docx: unknown file format"),
]


@pytest.mark.parametrize(("source", "name", "text", "message"), BROKEN)
def test_what_cannot_be_read_is_named(source: str, name: str, text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, text)
    with pytest.raises(InputError, match=message):
        write_pairs([f"{source}={path}"], tmp_path / "out" / "pairs.parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_files_that_are_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as pairs"):
        list(read_pairs(tmp_path / "none.parquet"))
    other = write_parquet(tmp_path / "other.parquet", [{"a": 1}])
    with pytest.raises(InputError, match="expected the columns id, source"):
        read_counts(other)


def test_aligned_files_of_other_lengths(tmp_path: Path) -> None:
    written(tmp_path / "normal.aligned", "a\t0\tOne thing .\na\t1\tTwo things .\n")
    written(tmp_path / "simple.aligned", "a\t0\tOne .\n")
    with pytest.raises(InputError, match="it ends before line 2"):
        pairs_of(f"simple_wiki={tmp_path}", folder=tmp_path / "out")


def test_reasons_are_all_listed(tmp_path: Path) -> None:
    assert set(SNLI_LOST) | {"unreadable", "unknown_label", "single_caption", "over_limit", "other_half"} == set(
        REASONS
    )
    rows = [{"anchor": f"Text {n}.", "entailment": "Text.", "label": label} for n, label in enumerate("0x")]
    pairs_of(f"snli={write_jsonl(tmp_path / 'x.jsonl', rows)}", folder=tmp_path)
    assert read_counts(tmp_path / "pairs.parquet").unusable["snli"] == {"unknown_label": 1}
    assert list(CORPORA) == ["snli", "multi_nli", "sentence_compression", "simple_wiki", "coco_captions", "pairs"]


def test_the_file_has_the_columns_of_a_pair(tmp_path: Path) -> None:
    write_pairs([many(tmp_path, 50)], tmp_path / "pairs.parquet")
    assert tuple(pq.read_schema(tmp_path / "pairs.parquet").names) == Pair.__slots__


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("He did n't say `` no '' .", 'He didn\'t say "no".'),
        ("The -LRB- old -RRB- man , 's hat .", "The (old) man,'s hat."),
        ("Presidents ' Day is near .", "Presidents' Day is near."),
        ("They 're here ; we 'll go .", "They're here; we'll go."),
        ("It cost $ 1,848 .", "It cost $1,848."),
        ("A plain sentence, with 'quotes'.", "A plain sentence, with 'quotes'."),
    ],
)
def test_detokenised(tokens: str, text: str) -> None:
    assert detokenised(tokens) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One.", 1),
        ("One. Two.", 2),
        ("Dr. Smith met J. Doe at 5 p.m. in St. Louis.", 1),
        ('He said "No." Then he left!', 2),
        ("No end here", 1),
        ("Version 2.0 is out.", 1),
    ],
)
def test_sentence_count(text: str, count: int) -> None:
    assert sentence_count(text) == count


@pytest.mark.corpora
def test_real_sources(corpora: Path, tmp_path: Path) -> None:
    train = corpora / "train"
    sources = [
        f"snli={train / 'nli_snli_counterfactual.parquet'}",
        f"multi_nli={train / 'nli_mnli_dev_matched.parquet'}",
    ]
    counts = write_pairs(sources, tmp_path / "pairs.parquet", limit=3000)
    for source, rows in counts.rows.items():
        assert rows == counts.pairs[source] + sum(counts.unusable[source].values())
    assert sum(counts.pairs.values()) == 3000 == sum(1 for _ in read_pairs(tmp_path / "pairs.parquet"))


def test_a_dataset_through_the_loader(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "nli"
    folder.mkdir()
    rows = [{"premise": f"Text {n} here.", "hypothesis": f"Text {n}.", "label": n % 3 - 1} for n in range(9)]
    write_parquet(folder / "train.parquet", rows)
    pairs = pairs_of(f"snli=datasets:{folder}?split=train", folder=tmp_path)
    assert {pair.anchor for pair in pairs} == {"Text 1 here.", "Text 4 here.", "Text 7 here."}
    assert read_counts(tmp_path / "pairs.parquet").rows == {"snli": 9}


def test_labels_of_pairs_are_words(tmp_path: Path) -> None:
    labels = ["entailment", "not_entailment", "neutral", "-"]
    rows = [
        {"sentence1": f"Text {n} here.", "sentence2": f"Text {n}.", "label": label} for n, label in enumerate(labels)
    ]
    pairs = pairs_of(f"pairs={write_jsonl(tmp_path / 'x.jsonl', rows)}", folder=tmp_path)
    assert [pair.entailment for pair in pairs] == ["Text 0."]
    assert read_counts(tmp_path / "pairs.parquet").unusable["pairs"] == {"not_entailment": 2, "no_gold_label": 1}


def test_columns_premise_and_entailment_are_a_pair(tmp_path: Path) -> None:
    rows = [{"premise": "A man rides a horse.", "entailment": "A man is riding.", "contradiction": "A man sleeps."}]
    pairs = pairs_of(f"pairs={write_jsonl(tmp_path / 'x.jsonl', rows)}", folder=tmp_path)
    assert [(pair.anchor, pair.entailment) for pair in pairs] == [("A man rides a horse.", "A man is riding.")]
