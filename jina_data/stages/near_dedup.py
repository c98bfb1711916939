"""Drop rows that nearly equal an earlier one: MinHash and LSH find candidates, their true similarity decides."""

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

from jina_data.stages.base import Collective, Context, Names, RemainingRows, Threshold, read_reference_rows
from jina_data.stages.reference import ROW_BITS, ReferenceRows
from jina_data.stages.rows import BoolArray, Rows, View

if TYPE_CHECKING:
    from jina_data.kernels.lsh import Buckets, Decisions, Nodes
    from jina_data.kernels.shingles import Elements, Shingling

PlaceArray = npt.NDArray[np.uint64]

HASHES = 112
"""How many MinHash values a row gets where `threshold` chooses the bands."""
DETECTED = 0.9
"""The probability with which bands that `threshold` chose detect a pair right at the threshold."""

OWN = 1 << 63
"""Added to the row ids of own rows: so outside rows, by their places, come before them all."""
LARGEST = 5
"""So many of the largest buckets are reported."""


def _role_too(schema: dict[str, Any]) -> None:
    schema["properties"]["role"] = schema["properties"]["roles"]


class NearDedup(Collective):
    """Drop a row if an earlier kept one shares a band with it and their sets of shingles are at least `threshold` near.

    The sets are those of n-grams of words; nearness is their Jaccard similarity, in every role by itself. The earliest
    such row is the partner and the similarity the score. Nothing is closed over transitively: a dropped row drops no
    other. With `short_text: keep`, a row with a role of nothing but short texts is near to no other.
    `num_buckets` bands of `hashes_per_bucket` MinHash values each are called as in datatrove; without them,
    `threshold` chooses.
    """

    model_config = ConfigDict(json_schema_extra=_role_too)

    name: ClassVar[str] = "near_dedup"
    version: ClassVar[int] = 2
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
    def _role(cls, given: Any) -> Any:
        """Take `role` for `roles`."""
        if not isinstance(given, Mapping) or "role" not in given:
            return given
        if "roles" in given:
            raise ValueError("role and roles are two names of one option; give one of them")
        return {("roles" if key == "role" else key): value for key, value in given.items()}

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.num_buckets is None) != (self.hashes_per_bucket is None):
            raise ValueError("give num_buckets and hashes_per_bucket together, or neither: then threshold chooses them")
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
        made = sketch(elements, len(rows), bands=n_bands, rows=n_hashes)
        sizes = np.where(self._beyond_comparison(rows, elements), 0, made.sizes)
        names = band_names(n_bands)
        out = {name: pa.array(key, mask=sizes == 0) for name, key in zip(names, made.bands, strict=True)}
        return out | {"high": pa.array(made.high), "low": pa.array(made.low), "elements": pa.array(sizes)}

    def elements(self, rows: Rows) -> list[Elements]:
        """Return the elements of N rows, for each role; all texts of a role count together."""
        from jina_data.kernels.shingles import Elements, text_elements

        out = []
        for role in rows.view.chosen(self.roles, self.name):
            texts = rows.texts(role)
            elements = text_elements(texts.values, self._shingling, role)
            bounds = np.searchsorted(texts.owner, np.arange(len(rows) + 1))
            out.append(Elements(elements.values, elements.offsets[bounds]))
        return out

    def _beyond_comparison(self, rows: Rows, elements: Sequence[Elements]) -> BoolArray:
        """Tell in which of N rows a role has texts, but all too short for the elements of `short_text: keep`."""
        from jina_data.kernels.shingles import EXACT, Shingling, text_elements

        found = np.zeros(len(rows), np.bool_)
        if self.short_text != "keep":
            return found
        for role, own in zip(rows.view.chosen(self.roles, self.name), elements, strict=True):
            texts = rows.texts(role)
            bare = (np.diff(own.offsets) == 0)[texts.owner]
            # As a whole, every text has an element but those of white space alone, which are empty.
            whole = text_elements(texts.values.filter(pa.array(bare)), Shingling(self.n_grams, EXACT), role)
            found[texts.owner[bare][np.diff(whole.offsets) > 0]] = True
        return found

    @property
    def _shingling(self) -> Shingling:
        from jina_data.kernels.shingles import CHAR_NGRAMS, EXACT, KEEP, Shingling

        short = {"exact": EXACT, "char_ngrams": CHAR_NGRAMS, "keep": KEEP}[self.short_text]
        return Shingling(self.n_grams, short, self.char_n_grams)

    @override
    def decide(self, remaining: RemainingRows) -> duckdb.DuckDBPyRelation:
        from jina_data.kernels.lsh import decide_in_order

        con = remaining.con
        _name_rows(remaining, self.bands[0])
        _set_identical_apart(con)
        _find_members(con, self.bands[0])
        places = con.sql("SELECT DISTINCT place FROM near_members ORDER BY place").fetchnumpy()["place"]
        remaining.folder.mkdir(parents=True, exist_ok=True)
        largest = _Largest(con, places)
        buckets = _make_buckets(con, places, self.bands[0], remaining.folder, largest)
        con.execute("DROP TABLE near_members")
        nodes = self._make_nodes(remaining, places)
        n_outside = int(np.searchsorted(places, np.uint64(OWN)))
        decided = decide_in_order(nodes, buckets, n_outside=n_outside, threshold=self.threshold)
        con.register("near_decided", _table(places, decided, remaining.reference))
        remaining.facts.update(self._facts(remaining, len(places), decided.compared), largest_buckets=largest.facts())
        return con.sql(f"""
            SELECT row_id, 0::SMALLINT AS reason, score, partner, partner_row_id FROM near_decided
            UNION ALL
            SELECT place - {OWN}::UBIGINT, 0::SMALLINT, coalesce(score, 1), partner,
                   CASE WHEN row_id IS NULL THEN first - {OWN}::UBIGINT ELSE partner_row_id END
            FROM near_later LEFT JOIN near_decided ON row_id = first - {OWN}::UBIGINT WHERE own
        """)

    def _facts(self, remaining: RemainingRows, n_candidates: int, n_compared: int) -> dict[str, Any]:
        (((n_rows,),), ((n_identical,),)) = (
            remaining.con.sql(query).fetchall()
            for query in (f"SELECT count(*) FROM {remaining.name}", "SELECT count(*) FROM near_later WHERE own")
        )
        n_bands, n_hashes = self.bands
        settings = {"threshold": self.threshold, "num_buckets": n_bands, "hashes_per_bucket": n_hashes}
        counts = {"rows": n_rows, "candidates": n_candidates, "compared": n_compared, "identical": n_identical}
        return settings | {"n_grams": self.n_grams} | counts

    def _make_nodes(self, remaining: RemainingRows, places: PlaceArray) -> Nodes:
        """Make the sets of the rows at some places again, in files."""
        from jina_data.kernels.lsh import WORDS, Nodes, sign_sets
        from jina_data.kernels.shingles import sorted_sets

        paths = remaining.folder / "sets.bin", remaining.folder / "signatures.bin"
        starts = [np.empty((0, 1), np.int64)]
        sizes = starts.copy()
        with paths[0].open("wb") as values, paths[1].open("wb") as signatures:
            for rows in _rows_at(remaining, places, self.input_columns):
                sets = [sorted_sets(elements) for elements in self.elements(rows)]
                firsts = values.tell() // 8 + np.cumsum([0, *(len(one.values) for one in sets[:-1])])
                starts.append(np.stack([first + one.offsets[:-1] for first, one in zip(firsts, sets, strict=True)], 1))
                sizes.append(np.stack([np.diff(one.offsets) for one in sets], 1))
                signatures.write(np.stack([sign_sets(one.values, one.offsets) for one in sets], 1).data)
                for one in sets:
                    values.write(one.values.data)
        where, how_many = (np.concatenate(parts[1:] or parts) for parts in (starts, sizes))
        (all_values, value_map), (all_signatures, signature_map) = map(_mapped, paths)
        return Nodes(
            all_values,
            np.ascontiguousarray(where),
            np.ascontiguousarray(how_many),
            all_signatures.reshape(*where.shape, WORDS),
            value_map + signature_map,
        )


def _mapped(path: Path) -> tuple[npt.NDArray[np.uint64], tuple[mmap.mmap, ...]]:
    """Map a file into memory, where what is not looked at takes none; return it as an array, and the map."""
    if not path.stat().st_size:
        return np.empty(0, np.uint64), ()
    with path.open("rb") as file:
        found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(found, np.uint64), (found,)


def choose_bands(threshold: float) -> tuple[int, int]:
    """Return the number of bands, and of hashes in each, for a threshold: the most hashes that detect well enough."""
    for n_hashes in range(HASHES, 1, -1):
        n_bands = HASHES // n_hashes
        if 1 - (1 - threshold**n_hashes) ** n_bands >= DETECTED:
            return n_bands, n_hashes
    return HASHES, 1


def band_names(n_bands: int) -> list[str]:
    """Return the names of the key columns that hold the keys of bands."""
    return [f"b{band:02d}" for band in range(n_bands)]


def _name_rows(remaining: RemainingRows, n_bands: int) -> None:
    """Name all rows that can be compared: outside rows under their places, own ones behind them."""
    columns = ", ".join(["high", "low", *band_names(n_bands)])
    parts = [f"SELECT row_id + {OWN}::UBIGINT AS place, {columns} FROM {remaining.name} WHERE elements > 0"]
    if remaining.reference is not None:
        parts.append(f"SELECT place, {columns} FROM {remaining.reference.name} WHERE elements > 0")
    remaining.con.execute(f"CREATE OR REPLACE TEMP VIEW near_rows AS {' UNION ALL '.join(parts)}")


def _set_identical_apart(con: duckdb.DuckDBPyConnection) -> None:
    """Note the rows whose sets an earlier row has, and the first such row: outside ones and own ones apart.

    The first decides for the later ones. If it stays, it is their partner: an earlier one would have dropped it too.
    If it falls, what dropped it drops them: they share the same bands with the same sets, and between the two stands
    no earlier row. Reference rows stay, also behind others that are near them; so they are no firsts of own rows, but
    compared like any other.
    """
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE near_later AS
        WITH firsts AS (
            SELECT high, low, place >= {OWN}::UBIGINT AS own, min(place) AS first FROM near_rows
            GROUP BY high, low, own HAVING count(*) > 1
        )
        SELECT place, first, own FROM near_rows JOIN firsts
        ON near_rows.high = firsts.high AND near_rows.low = firsts.low AND (place >= {OWN}::UBIGINT) = own
        WHERE place <> first
    """)


def _find_members(con: duckdb.DuckDBPyConnection, n_bands: int) -> None:
    """Note the members of all buckets with two different sets or more, one of them own; one band at a time."""
    con.execute("CREATE OR REPLACE TEMP TABLE near_members (band INTEGER, key UBIGINT, place UBIGINT)")
    for band, name in enumerate(band_names(n_bands)):
        con.execute(f"""
            INSERT INTO near_members
            WITH sets AS (SELECT {name} AS key, place FROM near_rows ANTI JOIN near_later USING (place)),
            shared AS (SELECT key FROM sets GROUP BY key HAVING count(*) > 1 AND max(place) >= {OWN}::UBIGINT)
            SELECT {band}, key, place FROM sets SEMI JOIN shared USING (key)
        """)


class _Largest:
    """The buckets with the most own rows, counting rows with identical sets; one for each first row."""

    def __init__(self, con: duckdb.DuckDBPyConnection, places: PlaceArray) -> None:
        self.weights = (places >= np.uint64(OWN)).astype(np.int64)
        counts = "SELECT first, count(*) AS n FROM near_later WHERE own GROUP BY first"
        among = con.sql(f"{counts} HAVING first IN (SELECT place FROM near_members)").fetchnumpy()
        self.weights[np.searchsorted(places, among["first"])] += among["n"]
        top = con.sql(f"{counts} ORDER BY n DESC, first LIMIT {LARGEST}").fetchall()
        self._rows = {first - OWN: n + 1 for first, n in top}

    def look(self, places: PlaceArray, nodes: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> None:
        """Look at the buckets of one band: their members, one bucket after the other, ascending in each."""
        rows = np.add.reduceat(self.weights[nodes], starts)
        firsts = np.minimum.reduceat(np.where(places >= np.uint64(OWN), places, np.uint64(2**64 - 1)), starts)
        for bucket in np.lexsort((firsts, -rows))[: 4 * LARGEST].tolist():
            row_id = int(firsts[bucket]) - OWN
            self._rows[row_id] = max(int(rows[bucket]), self._rows.get(row_id, 0))

    def facts(self) -> list[dict[str, int]]:
        """Return the largest, largest first."""
        ranked = sorted(self._rows.items(), key=lambda pair: (-pair[1], pair[0]))
        return [{"rows": rows, "row_id": row_id} for row_id, rows in ranked[:LARGEST]]


def _make_buckets(
    con: duckdb.DuckDBPyConnection, places: PlaceArray, n_bands: int, folder: Path, largest: _Largest
) -> Buckets:
    """Number the buckets, and note in a file which ones every place is in."""
    from jina_data.kernels.lsh import Buckets, let_go

    if not len(places):
        return Buckets(np.empty((0, n_bands), np.int32), np.zeros(1, np.int64))
    with (folder / "buckets.bin").open("w+b") as file:
        file.truncate(4 * len(places) * n_bands)
        mapped = mmap.mmap(file.fileno(), 0)
    of = np.frombuffer(mapped, np.int32).reshape(len(places), n_bands)
    of[:] = -1
    room = [np.zeros(1, np.int64)]
    n_buckets = n_members = 0
    for band in range(n_bands):
        query = f"SELECT key, place FROM near_members WHERE band = {band} ORDER BY key, place"
        members = con.sql(query).fetchnumpy()
        key, place = members["key"], members["place"]
        if not len(key):
            continue
        starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        sizes = np.diff(starts, append=len(key))
        nodes = np.searchsorted(places, place)
        of[nodes, band] = np.repeat(np.arange(n_buckets, n_buckets + len(starts), dtype=np.int32), sizes)
        room.append(n_members + np.cumsum(sizes))
        n_buckets, n_members = n_buckets + len(starts), n_members + len(key)
        largest.look(place, nodes, starts)
    let_go((mapped,))
    return Buckets(of, np.concatenate(room), (mapped,))


def _rows_at(remaining: RemainingRows, places: PlaceArray, sees: Callable[[View], tuple[str, ...]]) -> Iterator[Rows]:
    """Read the rows at some places (ascending) again, in that order."""
    assert remaining.fetch is not None
    n_outside = int(np.searchsorted(places, np.uint64(OWN)))
    row_ids = places[n_outside:] - np.uint64(OWN)
    if n_outside:
        assert remaining.reference is not None
        view = next(remaining.fetch(row_ids[:1])).view
        numbers = (places[:n_outside] >> np.uint64(ROW_BITS)).astype(np.int64)
        for number in np.unique(numbers).tolist():
            wanted = places[:n_outside][numbers == number] & np.uint64(2**ROW_BITS - 1)
            for rows in read_reference_rows(remaining.reference.files[number], view, sees(view)):
                hit = np.isin(rows.row_ids.to_numpy(), wanted)
                if hit.any():
                    yield rows.take(hit)
    if len(row_ids):
        yield from remaining.fetch(row_ids)


def _table(places: PlaceArray, decided: Decisions, outside: ReferenceRows | None) -> pa.Table:
    """Return what was decided about the nodes that fall."""
    nodes = np.flatnonzero(decided.partner >= 0)
    partners = places[decided.partner[nodes]]
    own = partners >= np.uint64(OWN)
    names: list[str | None] = [None] * len(nodes)
    for i in np.flatnonzero(~own).tolist():
        assert outside is not None
        names[i] = outside.row_name(int(partners[i]))
    return pa.table(
        {
            "row_id": places[nodes] - np.uint64(OWN),
            "score": decided.score[nodes],
            "partner": pa.array(names, pa.string()),
            "partner_row_id": pa.array(partners - np.uint64(OWN), mask=~own),
        }
    )
