"""Measures the disk space of an installation for each extra: the whole site-packages of a fresh environment.

    python benchmarks/install_sizes.py [--extras core torch onnx llm hub evaluate all]

Needs the package index. The versions are those of constraints.txt; which build of torch is installed depends on the
index (README's figures are for the CPU build).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXTRAS = ("core", "torch", "onnx", "llm", "hub", "evaluate", "all")


def measure(extra: str, folder: Path) -> tuple[int, int]:
    """Install the project with an extra into a new environment; return its MB (2**20 bytes) and its packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    project = str(ROOT) if extra == "core" else f"{ROOT}[{extra}]"
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), project], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    n_bytes = sum(path.lstat().st_blocks * 512 for path in packages.rglob("*"))
    return round(n_bytes / 2**20), len(list(packages.glob("*.dist-info")))


def main() -> None:
    """Print a line for each extra."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", nargs="+", choices=EXTRAS, default=EXTRAS)
    for extra in parser.parse_args().extras:
        with tempfile.TemporaryDirectory(prefix="jina-data-size-") as folder:
            size, n_packages = measure(extra, Path(folder) / "environment")
        print(f"{extra}: {size:,} MB, {n_packages} packages", flush=True)


if __name__ == "__main__":
    main()
