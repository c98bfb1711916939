from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_data.errors import UsageError
from jina_data.kernels.keys import fold_text
from jina_data.publish.split import KeyWriter, choose_test, parse_test_size


def split(folder: Path, rows: list[list[str]], *, test_size: float, seed: int = 0, batch: int = 7) -> list[int]:
    writer = KeyWriter(folder / "keys.parquet")
    for start in range(0, len(rows), batch):
        writer.add(rows[start : start + batch])
    writer.close()
    chosen = choose_test(folder / "keys.parquet", len(rows), test_size=test_size, seed=seed, folder=folder)
    return [int(row) for row in chosen]


def texts(rows: list[list[str]], chosen: set[int], *, inside: bool) -> set[str]:
    return {fold_text(text) for number, row in enumerate(rows) if (number in chosen) is inside for text in row}


def smallest_group(rows: list[list[str]]) -> int:
    """Return the size of the smallest group, computed by merging sets until none overlap."""
    groups: list[tuple[set[str], int]] = []
    for row in rows:
        texts_of_group, n_rows = {fold_text(text) for text in row}, 1
        for other, n_other in [group for group in groups if group[0] & texts_of_group]:
            groups.remove((other, n_other))
            texts_of_group, n_rows = texts_of_group | other, n_rows + n_other
        groups.append((texts_of_group, n_rows))
    return min(n_rows for _, n_rows in groups)


ROWS = st.lists(
    st.lists(st.integers(0, 40).map(lambda n: f"Text {n}"), min_size=1, max_size=3), min_size=4, max_size=40
)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, n_test=st.integers(1, 3), seed=st.integers(0, 5))
def test_no_text_is_in_both_splits(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], n_test: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    smallest = smallest_group(rows)
    if smallest > n_test:
        with pytest.raises(UsageError, match="no group of rows with shared texts fits into a test split"):
            split(folder, rows, test_size=n_test, seed=seed)
        return
    chosen = split(folder, rows, test_size=n_test, seed=seed)
    assert chosen == sorted(set(chosen))
    assert 1 <= len(chosen) <= n_test
    assert not texts(rows, set(chosen), inside=True) & texts(rows, set(chosen), inside=False)


def test_a_long_chain_is_one_group(tmp_path: Path) -> None:
    chain = [[f"link {n}", f"link {n + 1}"] for n in range(500)]
    single = [[f"single {n}", f"other {n}"] for n in range(100)]
    order = np.random.default_rng(0).permutation(600)
    rows = [[*chain, *single][number] for number in order]
    chosen = split(tmp_path, rows, test_size=50)
    assert len(chosen) == 50
    assert {int(order[row]) >= 500 for row in chosen} == {True}


def test_texts_are_compared_folded(tmp_path: Path) -> None:
    rows = [["A  text"], ["a text "], *([f"text {n}"] for n in range(8))]
    for seed in range(20):
        chosen = split(tmp_path, rows, test_size=5, seed=seed)
        assert (0 in chosen) == (1 in chosen)


def test_a_fraction_is_met_and_the_seed_decides(tmp_path: Path) -> None:
    rows = [[f"question {n}", f"answer {n // 2}"] for n in range(1000)]
    first, second, other = (split(tmp_path, rows, test_size=0.1, seed=seed) for seed in (1, 1, 2))
    assert first == second != other
    assert len(first) == len(other) == 100
    assert set(Counter(row // 2 for row in first).values()) == {2}
    assert split(tmp_path, rows, test_size=0.1, seed=1, batch=1000) == first


def test_the_choice_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = [[f"question {n}", f"answer {n // 2}"] for n in range(100)]
    forward = {rows[row][0] for row in split(tmp_path, rows, test_size=10)}
    rows.reverse()
    assert {rows[row][0] for row in split(tmp_path, rows, test_size=10)} == forward


def test_a_row_without_texts_stays_in_train(tmp_path: Path) -> None:
    assert 0 not in split(tmp_path, [[], ["a"], ["b"], ["c"]], test_size=3)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "nan", "inf"])
def test_a_wrong_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected a fraction such as 0\.05, or a number of rows such as 1000"):
        parse_test_size(text)


def test_sizes_are_parsed() -> None:
    assert (parse_test_size("0.05"), parse_test_size("1000"), parse_test_size("1")) == (0.05, 1000.0, 1.0)
