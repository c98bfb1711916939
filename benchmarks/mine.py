"""Mining against sentence-transformers: the same pairs, vectors and options, each in a process of its own.

Run: python benchmarks/mine.py FILE.parquet ... [--limit N] [--json OUT]
Prints a row for each file: seconds and peak memory of both, how many triplets they found, how many of them are the same
after folding case and white space, and how many negatives of sentence-transformers are positives of their anchor that
are written otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jina_data.kernels.keys import fold_text

OPTIONS: dict[str, Any] = {"num_negatives": 3, "relative_margin": 0.05}


def pairs_of(path: str, limit: int | None) -> list[dict[str, str]]:
    """Read the pairs."""
    import pyarrow.parquet as pq

    rows: list[dict[str, str]] = pq.read_table(path, columns=["anchor", "positive"]).slice(0, limit).to_pylist()
    return rows


def ours(path: str, limit: int | None, out: Path) -> set[tuple[str, ...]]:
    """Mine with jina-data."""
    import pyarrow.parquet as pq

    from jina_data.mining.run import mine
    from jina_data.mining.settings import MineSettings

    mine(MineSettings(inputs=[path], limit=limit, **OPTIONS), out)
    return {tuple(row.values()) for row in pq.read_table(out / "data").to_pylist()}


def theirs(path: str, limit: int | None, _: Path) -> set[tuple[str, ...]]:
    """Mine with sentence-transformers and the same vectors."""
    import datasets
    import torch
    from sentence_transformers.util import mine_hard_negatives

    from jina_data.embed.base import load_embedder

    class Model:
        device = "cpu"

        def encode_query(self, texts: Sequence[str], **_: Any) -> Any:
            return load_embedder("static").encode(texts).astype("float32")

        encode_document = encode_query

        def similarity(self, left: Any, right: Any) -> Any:
            return torch.as_tensor(left) @ torch.as_tensor(right).T

        def similarity_pairwise(self, left: Any, right: Any) -> Any:
            return (torch.as_tensor(left) * torch.as_tensor(right)).sum(1)

    rows = datasets.Dataset.from_list(pairs_of(path, limit))
    found = mine_hard_negatives(rows, Model(), verbose=False, **OPTIONS)  # type: ignore[arg-type]
    return {tuple(row.values()) for row in found}


def child(which: str, path: str, limit: int | None, folder: Path) -> None:
    """Mine in this process, and leave what it took and what it found."""
    started = time.perf_counter()
    found = {"ours": ours, "theirs": theirs}[which](path, limit, folder / "run")
    said = {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "found": sorted(found),
    }
    (folder / f"{which}.json").write_text(json.dumps(said), encoding="utf-8")


def measure(path: str, limit: int | None) -> dict[str, Any]:
    """Mine a file both ways."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for which in ("ours", "theirs"):
            command = [sys.executable, __file__, "--child", which, path, "--folder", name]
            subprocess.run(command + (["--limit", str(limit)] if limit else []), check=True, stderr=subprocess.DEVNULL)
        said = {which: json.loads((folder / f"{which}.json").read_text()) for which in ("ours", "theirs")}
    found = {which: {tuple(map(fold_text, row)) for row in one.pop("found")} for which, one in said.items()}
    known = {tuple(map(fold_text, row.values())) for row in pairs_of(path, limit)}
    false = sum((anchor, negative) in known for anchor, _, negative in found["theirs"])
    counts = {f"found_{which}": len(rows) for which, rows in found.items()}
    return {"file": Path(path).stem, **said, **counts, "both": len(found["ours"] & found["theirs"]), "false": false}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.files[0], arguments.limit, arguments.folder)
        return
    rows = [measure(path, arguments.limit) for path in arguments.files]
    print("| pairs | s | s, theirs | MiB | MiB, theirs | found | found, theirs | both | positives, theirs |")
    print("| --- |" + " ---: |" * 8)
    for row in rows:
        cells = [row["file"], *(row[which][what] for what in ("seconds", "peak_mib") for which in ("ours", "theirs"))]
        cells += [row[name] for name in ("found_ours", "found_theirs", "both", "false")]
        print("|", " | ".join(map(str, cells)), "|")
    if arguments.json:
        versions = {name: metadata.version(name) for name in ("jina-data", "sentence-transformers", "torch", "numpy")}
        machine = {"machine": platform.machine(), "cores": os.cpu_count()}
        arguments.json.write_text(
            json.dumps({"options": OPTIONS, "rows": rows, **versions, **machine}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
