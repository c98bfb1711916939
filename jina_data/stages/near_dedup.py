"""The stage `near_dedup`: drop near duplicates. MinHash and LSH find candidates, their exact similarity decides.

An item is a row that can be compared: a row of the run (its id is row id + RUN_ROW) or a reference row (its id is the
packed row id). A node is the position of an item in the ascending ids of all items in some bucket.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from jina_data.read.model import ROW_BITS
from jina_data.stages.base import Collective, Context, Names, RemainingRows, Threshold, read_reference_rows
from jina_data.stages.reference import ReferenceRows
from jina_data.stages.rows import BoolArray, Rows, View

if TYPE_CHECKING:
    from jina_data.kernels.lsh import Buckets, Decisions, Nodes
    from jina_data.kernels.shingles import Elements, Shingling

ItemArray = npt.NDArray[np.uint64]

HASHES = 112
"""Maximum number of MinHash values of a row if `threshold` determines the bands."""
DETECTED = 0.9
"""Probability of detecting a pair exactly at the threshold, if `threshold` determines the bands."""

RUN_ROW = 1 << 63
"""Added to the ids of rows of the run, so that all reference rows, whose packed ids are smaller, come before them."""
LARGEST = 5
"""Number of the largest buckets in the report."""


def _role_too(schema: dict[str, Any]) -> None:
    schema["properties"]["role"] = schema["properties"]["roles"]


class NearDedup(Collective):
    """Drop a row if an earlier kept row shares a band with it and the similarity of both is at least `threshold`.

    The similarity is the Jaccard similarity of the sets of word n-grams; every role must reach the threshold. Words are
    compared with the signs after them ("C++", "-5", emoji), and without ordinary punctuation. With `threshold: 1`, the
    sets are 128-bit keys of whole texts: all words and signs must be equal, in order.

    The earliest such row is the partner, and the similarity is the score. There is no transitive closure: a dropped row
    drops no other row. With `short_text: keep`, a row with a role that has only short texts has no near duplicate.
    `num_buckets` (bands) and `hashes_per_bucket` (MinHash values of a band) have the names of datatrove; by default,
    `threshold` determines both.
    """

    model_config = ConfigDict(json_schema_extra=_role_too)

    name: ClassVar[str] = "near_dedup"
    version: ClassVar[int] = 3
    reasons: ClassVar[tuple[str, ...]] = ("near_duplicate",)

    roles: tuple[str, ...] | None = None
    threshold: float = Field(default=0.8, gt=0, le=1)
    n_grams: int = Field(default=5, ge=1)
    num_buckets: int | None = Field(default=None, ge=1)
    hashes_per_bucket: int | None = Field(default=None, ge=1)
    short_text: Literal["exact", "char_ngrams", "keep"] = "exact"
    char_n_grams: int = Field(default=4, ge=1)
    against: Names = ()

    @model_validator(mode="before")
    @classmethod
    def _role(cls, settings: Any) -> Any:
        """Accept `role` as another name of `roles`."""
        if not isinstance(settings, Mapping) or "role" not in settings:
            return settings
        if "roles" in settings:
            raise ValueError("role and roles are two names of the same option; give one of them")
        return {("roles" if key == "role" else key): value for key, value in settings.items()}

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.num_buckets is None) != (self.hashes_per_bucket is None):
            raise ValueError("give num_buckets and hashes_per_bucket together, or neither and threshold sets them")
        return self

    @property
    def bands(self) -> tuple[int, int]:
        """The number of bands, and of MinHash values in each."""
        if self.num_buckets is None or self.hashes_per_bucket is None:
            return choose_bands(self.threshold)
        return self.num_buckets, self.hashes_per_bucket

    @override
    def after(self, view: View) -> View:
        view.chosen(self.roles, self.name)
        return view

    @override
    def thresholds(self, view: View) -> dict[str, tuple[Threshold, ...]]:
        return {"score": (Threshold(self.threshold, "below", self.reasons[0]),)}

    @override
    def reference_files(self) -> tuple[str, ...]:
        return self.against

    @override
    def prepare(self) -> None:
        from jina_data.kernels import folded_words, lsh, minhash  # noqa: F401 - importing compiles the kernels

        folded_words.fold_table()

    @override
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        from jina_data.kernels.minhash import sketch

        n_bands, n_hashes = self.bands
        elements = self.elements(rows)
        sketches = sketch(elements, len(rows), bands=n_bands, rows=n_hashes)
        sizes = np.where(self._not_comparable(rows, elements), 0, sketches.sizes)
        names = band_names(n_bands)
        out = {name: pa.array(key, mask=sizes == 0) for name, key in zip(names, sketches.bands, strict=True)}
        return out | {"high": pa.array(sketches.high), "low": pa.array(sketches.low), "elements": pa.array(sizes)}

    def elements(self, rows: Rows) -> list[Elements]:
        """Return the elements of N rows for each role, over all texts of the role."""
        from jina_data.kernels.shingles import Elements, text_elements

        out = []
        for role in rows.view.chosen(self.roles, self.name):
            texts = rows.texts(role)
            elements = text_elements(texts.values, self._shingling, role)
            bounds = np.searchsorted(texts.owner, np.arange(len(rows) + 1))
            out.append(Elements(elements.values, elements.offsets[bounds]))
        return out

    def _not_comparable(self, rows: Rows, elements: Sequence[Elements]) -> BoolArray:
        """Return in which of N rows a role has texts that are too short, and no elements, under `short_text: keep`."""
        from jina_data.kernels.shingles import EXACT, Shingling, text_elements

        not_comparable = np.zeros(len(rows), np.bool_)
        if self.short_text != "keep":
            return not_comparable
        for role, role_elements in zip(rows.view.chosen(self.roles, self.name), elements, strict=True):
            texts = rows.texts(role)
            bare = (np.diff(role_elements.offsets) == 0)[texts.owner]
            # With `EXACT`, every text has an element, except texts of white space only. These count as empty.
            exact = text_elements(texts.values.filter(pa.array(bare)), Shingling(self.n_grams, EXACT), role)
            not_comparable[texts.owner[bare][np.diff(exact.offsets) > 0]] = True
        return not_comparable

    @property
    def _shingling(self) -> Shingling:
        from jina_data.kernels.shingles import CHAR_NGRAMS, EXACT, KEEP, Shingling

        short = {"exact": EXACT, "char_ngrams": CHAR_NGRAMS, "keep": KEEP}[self.short_text]
        if self.threshold < 1:
            return Shingling(self.n_grams, short, self.char_n_grams)
        # Two texts can have the same n-grams and differ: only equal texts have a similarity of 1.
        return Shingling(self.n_grams, min(short, EXACT), whole=True)

    @override
    def decide(self, remaining: RemainingRows) -> duckdb.DuckDBPyRelation:
        from jina_data.kernels.lsh import decide_in_order

        con = remaining.con
        _create_items(remaining, self.bands[0])
        _separate_identical(con)
        _create_members(con, self.bands[0])
        items = con.sql("SELECT DISTINCT item FROM near_members ORDER BY item").fetchnumpy()["item"]
        remaining.folder.mkdir(parents=True, exist_ok=True)
        largest = _LargestBuckets(con, items)
        buckets = _make_buckets(con, items, self.bands[0], remaining.folder, largest)
        con.execute("DROP TABLE near_members")
        nodes = self._make_nodes(remaining, items)
        n_reference = int(np.searchsorted(items, np.uint64(RUN_ROW)))
        decisions = decide_in_order(nodes, buckets, n_outside=n_reference, threshold=self.threshold)
        con.register("near_decided", _dropped_table(items, decisions, remaining.reference))
        remaining.facts.update(self._facts(remaining, len(items), decisions.compared), largest_buckets=largest.facts())
        # The dropped nodes, and all rows with the same sets as an earlier row: they share the decision about that row,
        # or have it as partner if it is kept.
        return con.sql(f"""
            SELECT row_id, 0::SMALLINT AS reason, score, partner, partner_row_id FROM near_decided
            UNION ALL
            SELECT item - {RUN_ROW}::UBIGINT, 0::SMALLINT, coalesce(score, 1), partner,
                   CASE WHEN row_id IS NULL THEN first - {RUN_ROW}::UBIGINT ELSE partner_row_id END
            FROM near_identical LEFT JOIN near_decided ON row_id = first - {RUN_ROW}::UBIGINT WHERE in_run
        """)

    def _facts(self, remaining: RemainingRows, n_candidates: int, n_compared: int) -> dict[str, Any]:
        (((n_rows,),), ((n_identical,),)) = (
            remaining.con.sql(query).fetchall()
            for query in (f"SELECT count(*) FROM {remaining.name}", "SELECT count(*) FROM near_identical WHERE in_run")
        )
        n_bands, n_hashes = self.bands
        settings = {"threshold": self.threshold, "num_buckets": n_bands, "hashes_per_bucket": n_hashes}
        counts = {"rows": n_rows, "candidates": n_candidates, "compared": n_compared, "identical": n_identical}
        return settings | {"n_grams": self.n_grams} | counts

    def _make_nodes(self, remaining: RemainingRows, items: ItemArray) -> Nodes:
        """Write the sets and signatures of all items to files, and map these files into memory.

        The sets of a node, one for each role, are slices of one array of sorted values: `starts` and `sizes`, (nodes,
        roles), say where.
        """
        from jina_data.kernels.lsh import WORDS, Nodes, sign_sets
        from jina_data.kernels.shingles import sorted_sets

        paths = remaining.folder / "sets.bin", remaining.folder / "signatures.bin"
        starts = [np.empty((0, 1), np.int64)]
        sizes = starts.copy()
        with paths[0].open("wb") as values, paths[1].open("wb") as signatures:
            for rows in _read_items(remaining, items, self.input_columns):
                sets = [sorted_sets(elements) for elements in self.elements(rows)]
                # The roles of this batch follow each other in the file, which has 8 bytes a value.
                bases = values.tell() // 8 + np.cumsum([0, *(len(of_role.values) for of_role in sets[:-1])])
                offsets = [base + of_role.offsets[:-1] for base, of_role in zip(bases, sets, strict=True)]
                starts.append(np.stack(offsets, 1))
                sizes.append(np.stack([np.diff(of_role.offsets) for of_role in sets], 1))
                signatures.write(np.stack([sign_sets(of_role.values, of_role.offsets) for of_role in sets], 1).data)
                for of_role in sets:
                    values.write(of_role.values.data)
        all_starts, all_sizes = (np.concatenate(parts[1:] or parts) for parts in (starts, sizes))
        (all_values, value_map), (all_signatures, signature_map) = map(_mapped, paths)
        return Nodes(
            all_values,
            np.ascontiguousarray(all_starts),
            np.ascontiguousarray(all_sizes),
            all_signatures.reshape(*all_starts.shape, WORDS),
            value_map + signature_map,
        )


def _mapped(path: Path) -> tuple[npt.NDArray[np.uint64], tuple[mmap.mmap, ...]]:
    """Map a file into memory, where only pages that are read take space; return it as an array, and the map."""
    if not path.stat().st_size:
        return np.empty(0, np.uint64), ()
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, np.uint64), (mapped,)


def choose_bands(threshold: float) -> tuple[int, int]:
    """Return (bands, hashes of a band) for a threshold: the most hashes with a detection probability of DETECTED."""
    for n_hashes in range(HASHES, 1, -1):
        n_bands = HASHES // n_hashes
        if 1 - (1 - threshold**n_hashes) ** n_bands >= DETECTED:
            return n_bands, n_hashes
    return HASHES, 1


def band_names(n_bands: int) -> list[str]:
    """Return the names of the key columns of bands."""
    return [f"b{band:02d}" for band in range(n_bands)]


def _create_items(remaining: RemainingRows, n_bands: int) -> None:
    """Create the view of all items: the reference rows, and after them the rows of the run."""
    columns = ", ".join(["high", "low", *band_names(n_bands)])
    parts = [f"SELECT row_id + {RUN_ROW}::UBIGINT AS item, {columns} FROM {remaining.name} WHERE elements > 0"]
    if remaining.reference is not None:
        parts.append(f"SELECT packed_row_id AS item, {columns} FROM {remaining.reference.name} WHERE elements > 0")
    remaining.con.execute(f"CREATE OR REPLACE TEMP VIEW near_items AS {' UNION ALL '.join(parts)}")


def _separate_identical(con: duckdb.DuckDBPyConnection) -> None:
    """Create the table of items whose sets an earlier item has, with the first such item.

    Rows of the run and reference rows are grouped separately. The decision about the first item holds for the others.
    If it is kept, it is their partner: a row before it that could drop them would have dropped it too. If it is
    dropped, the same row drops the others, since they have the same bands and sets, and no row between them comes
    earlier. Reference rows are always kept, even if an earlier reference row is near. So a reference row does not
    decide for rows of the run: it is compared with them like any other item.
    """
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE near_identical AS
        WITH firsts AS (
            SELECT high, low, item >= {RUN_ROW}::UBIGINT AS in_run, min(item) AS first FROM near_items
            GROUP BY high, low, in_run HAVING count(*) > 1
        )
        SELECT item, first, in_run FROM near_items JOIN firsts
        ON near_items.high = firsts.high AND near_items.low = firsts.low AND (item >= {RUN_ROW}::UBIGINT) = in_run
        WHERE item <> first
    """)


def _create_members(con: duckdb.DuckDBPyConnection, n_bands: int) -> None:
    """Create the table of the members of all buckets with two items or more, at least one of them in the run.

    A bucket is a key of a band. Bands are processed one at a time, which limits the memory. Only the first of items
    with identical sets is a member.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE near_members (band INTEGER, key UBIGINT, item UBIGINT)")
    for band, name in enumerate(band_names(n_bands)):
        con.execute(f"""
            INSERT INTO near_members
            WITH sets AS (SELECT {name} AS key, item FROM near_items ANTI JOIN near_identical USING (item)),
            shared AS (SELECT key FROM sets GROUP BY key HAVING count(*) > 1 AND max(item) >= {RUN_ROW}::UBIGINT)
            SELECT {band}, key, item FROM sets SEMI JOIN shared USING (key)
        """)


class _LargestBuckets:
    """The buckets with the most rows of the run, including rows with identical sets; one bucket for each first row."""

    def __init__(self, con: duckdb.DuckDBPyConnection, items: ItemArray) -> None:
        # A node weighs its row, if it is of the run, and the rows with the same sets.
        self.weights = (items >= np.uint64(RUN_ROW)).astype(np.int64)
        counts = "SELECT first, count(*) AS n FROM near_identical WHERE in_run GROUP BY first"
        of_members = con.sql(f"{counts} HAVING first IN (SELECT item FROM near_members)").fetchnumpy()
        self.weights[np.searchsorted(items, of_members["first"])] += of_members["n"]
        # Rows with identical sets form a bucket even if no other row is in it.
        largest = con.sql(f"{counts} ORDER BY n DESC, first LIMIT {LARGEST}").fetchall()
        self._rows = {first - RUN_ROW: n + 1 for first, n in largest}

    def add_band(self, items: ItemArray, nodes: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> None:
        """Add the buckets of one band: the members of each bucket are contiguous, ascending, and begin at `starts`."""
        rows = np.add.reduceat(self.weights[nodes], starts)
        firsts = np.minimum.reduceat(np.where(items >= np.uint64(RUN_ROW), items, np.uint64(2**64 - 1)), starts)
        for bucket in np.lexsort((firsts, -rows))[: 4 * LARGEST].tolist():
            row_id = int(firsts[bucket]) - RUN_ROW
            self._rows[row_id] = max(int(rows[bucket]), self._rows.get(row_id, 0))

    def facts(self) -> list[dict[str, int]]:
        """Return the row counts and first rows of the largest buckets, largest first."""
        ranked = sorted(self._rows.items(), key=lambda pair: (-pair[1], pair[0]))
        return [{"rows": rows, "row_id": row_id} for row_id, rows in ranked[:LARGEST]]


def _make_buckets(
    con: duckdb.DuckDBPyConnection, items: ItemArray, n_bands: int, folder: Path, largest: _LargestBuckets
) -> Buckets:
    """Number the buckets of all bands, and write to a file the bucket of each node in each band (-1: none)."""
    from jina_data.kernels.lsh import Buckets, release_pages

    if not len(items):
        return Buckets(np.empty((0, n_bands), np.int32), np.zeros(1, np.int64))
    with (folder / "buckets.bin").open("w+b") as file:
        file.truncate(4 * len(items) * n_bands)
        mapped = mmap.mmap(file.fileno(), 0)
    bucket_of = np.frombuffer(mapped, np.int32).reshape(len(items), n_bands)
    bucket_of[:] = -1
    # The members of bucket b occupy ends[b] .. ends[b + 1] of the array that the kernel fills.
    ends = [np.zeros(1, np.int64)]
    n_buckets = n_members = 0
    for band in range(n_bands):
        query = f"SELECT key, item FROM near_members WHERE band = {band} ORDER BY key, item"
        members = con.sql(query).fetchnumpy()
        key, item = members["key"], members["item"]
        if not len(key):
            continue
        starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        sizes = np.diff(starts, append=len(key))
        nodes = np.searchsorted(items, item)
        bucket_of[nodes, band] = np.repeat(np.arange(n_buckets, n_buckets + len(starts), dtype=np.int32), sizes)
        ends.append(n_members + np.cumsum(sizes))
        n_buckets, n_members = n_buckets + len(starts), n_members + len(key)
        largest.add_band(item, nodes, starts)
    release_pages((mapped,))
    return Buckets(bucket_of, np.concatenate(ends), (mapped,))


def _read_items(
    remaining: RemainingRows, items: ItemArray, input_columns: Callable[[View], tuple[str, ...]]
) -> Iterator[Rows]:
    """Read the rows of the given items (ascending), in that order."""
    assert remaining.fetch is not None
    n_reference = int(np.searchsorted(items, np.uint64(RUN_ROW)))
    row_ids = items[n_reference:] - np.uint64(RUN_ROW)
    if n_reference:
        assert remaining.reference is not None
        view = next(remaining.fetch(row_ids[:1])).view
        numbers = (items[:n_reference] >> np.uint64(ROW_BITS)).astype(np.int64)
        for number in np.unique(numbers).tolist():
            file_rows = items[:n_reference][numbers == number] & np.uint64(2**ROW_BITS - 1)
            for rows in read_reference_rows(remaining.reference.files[number], view, input_columns(view)):
                is_item = np.isin(rows.row_ids.to_numpy(), file_rows)
                if is_item.any():
                    yield rows.take(is_item)
    if len(row_ids):
        yield from remaining.fetch(row_ids)


def _dropped_table(items: ItemArray, decisions: Decisions, reference: ReferenceRows | None) -> pa.Table:
    """Return the dropped nodes, with scores and partners."""
    nodes = np.flatnonzero(decisions.partner >= 0)
    partners = items[decisions.partner[nodes]]
    in_run = partners >= np.uint64(RUN_ROW)
    names: list[str | None] = [None] * len(nodes)
    for i in np.flatnonzero(~in_run).tolist():
        assert reference is not None
        names[i] = reference.row_name(int(partners[i]))
    return pa.table(
        {
            "row_id": items[nodes] - np.uint64(RUN_ROW),
            "score": decisions.score[nodes],
            "partner": pa.array(names, pa.string()),
            "partner_row_id": pa.array(partners - np.uint64(RUN_ROW), mask=~in_run),
        }
    )
