"""Compiled loops over Arrow buffers (numba)."""

import os
import tempfile
from pathlib import Path


def _set_cache_folder() -> None:
    """Set numba's cache folder where it has none to write to: the package is read-only, and so is the home folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    nearest = next((folder for folder in (home, *home.parents) if folder.exists()), home)
    if "NUMBA_CACHE_DIR" in os.environ or os.access(Path(__file__).parent, os.W_OK) or os.access(nearest, os.W_OK):
        return
    os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"jina-data-kernels-{os.getuid()}")


_set_cache_folder()
