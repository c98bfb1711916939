"""Finds, downloads, hashes and quantizes the files of embedders that run in ONNX Runtime: `onnx:MODEL[#FILE|#int8]`.

MODEL is a folder or a name on the Hub, FILE an ONNX file in it. Without FILE, it is the model in full precision, so the
same name always means the same vectors, however many quantized files the folder has.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import re
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from jina_data.embed.base import ONNX
from jina_data.embed.model_files import combined_sha256, model_folder
from jina_data.embed.pooling import module_files
from jina_data.errors import MissingExtraError, ModelError, first_line

INT8 = "int8"
"""The choice of the quantized file for this CPU."""

FLOAT_FILES = ("onnx/model.onnx", "model.onnx")
_SETTINGS = ("*.json", "*vocab.txt", "[1-9]*_*/*.safetensors")
_VNNI_NAMES = ("qint8_avx512_vnni", "qint8_avx512", "int8", "quantized", "quint8_avx2", "uint8")
_ARM_NAMES = ("qint8_arm64", "int8", "quantized", "quint8_avx2", "uint8")
_OTHER_NAMES = ("quint8_avx2", "uint8", "quantized", "int8")
"""Endings of quantized files, the fastest first. Without VNNI, sums of signed weights can overflow."""

_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])", re.DOTALL)
"""The name of a file with weights in the protobuf of a graph, behind its length."""
_DYNAMIC = re.compile(rb"DynamicQuantize")


@dataclass(frozen=True)
class OnnxFiles:
    """The files of an embedder: its folder, and the graph, which may be in the cache of quantized models."""

    folder: Path
    graph: Path

    def weights(self) -> list[Path]:
        """Return the graph and its files with weights."""
        return [self.graph, *(self.graph.parent / name for name in _scan(self.graph).external)]

    def all(self) -> list[Path]:
        """Return every file that the vectors depend on."""
        return sorted({*self.weights(), *module_files(self.folder)})

    def is_dynamic(self) -> bool:
        """Return whether the graph computes the scale of int8 activations from its input, over all texts of a batch."""
        return _scan(self.graph).is_dynamic


def require_onnx(name: str) -> None:
    """Check that ONNX Runtime is installed, without importing it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise MissingExtraError(
            f"embedder {name!r} needs onnxruntime; run: pip install 'jina-data[onnx]'; the light install has the "
            "embedder 'static'"
        )


def onnx_folder(name: str) -> Path:
    """Return the folder of an embedder; downloads it if needed.

    Raises:
        ModelError: there is no such folder, and no such model on the Hub.
        MissingExtraError: ONNX Runtime is not installed.
    """
    require_onnx(name)
    source, choice = _split(name)
    if source and Path(source).expanduser().is_dir():
        return model_folder(source, "embedder")
    if not source or source.endswith(".onnx"):
        raise ModelError(
            f"embedder {name!r} names no folder; expected {ONNX}MODEL or {ONNX}MODEL#FILE, where MODEL is a folder or "
            "a name on the Hugging Face Hub, and FILE an ONNX file in it"
        )
    try:
        return _snapshot(source, choice)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"embedder {name!r}: {source!r} is neither a folder nor a model on the Hugging Face Hub "
            f"({first_line(error)}). Name the folder of a saved sentence-transformers model with an ONNX file, or the "
            "embedder 'static'"
        ) from error


def onnx_files(name: str) -> OnnxFiles:
    """Return the files of an embedder; downloads or quantizes the model if needed.

    Raises:
        ModelError: a file is missing.
        MissingExtraError: ONNX Runtime is not installed, or onnx to quantize a model.
    """
    folder = onnx_folder(name)
    source, choice = _split(name)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")}
    if chosen := _choose(present, choice):
        return OnnxFiles(folder, folder / chosen)
    full = _choose(present, "")
    if choice == INT8 and full:
        return OnnxFiles(folder, _quantized(name, folder / full))
    raise ModelError(_missing(source, choice, present))


def _split(name: str) -> tuple[str, str]:
    """Split onnx:MODEL#FILE into MODEL and FILE; FILE is "" if it is not given."""
    rest = name.removeprefix(ONNX)
    if rest and Path(rest).expanduser().is_dir():  # a folder may have a # in its name
        return rest, ""
    source, mark, choice = rest.rpartition("#")
    if not (mark and Path(source).expanduser().is_dir()):
        source, _, choice = rest.partition("#")
    return source, choice


def _choose(present: Collection[str], choice: str) -> str | None:
    """Return the file of a choice among the ONNX files of a model, or None."""
    return next((name for name in _candidates(choice) if name in present), None)


def _candidates(choice: str) -> Sequence[str]:
    """Return the names that the file of a choice can have, in order of preference."""
    if choice != INT8:
        return [choice] if choice else FLOAT_FILES
    return [f"{folder}model_{ending}.onnx" for ending in _int8_endings(*_cpu()) for folder in ("onnx/", "")]


def _int8_endings(machine: str, flags: str) -> tuple[str, ...]:
    """Return the endings of quantized files for a CPU, in order of preference."""
    if machine in ("arm64", "aarch64"):
        return _ARM_NAMES
    return _VNNI_NAMES if "avx512_vnni" in flags or "avx_vnni" in flags else _OTHER_NAMES


@lru_cache(maxsize=1)
def _cpu() -> tuple[str, str]:
    """Return the architecture of the CPU and the line of its features, "" if it is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return platform.machine(), next((line for line in lines if line.startswith("flags")), "")


def _missing(source: str, choice: str, present: Collection[str]) -> str:
    wanted = choice if choice not in ("", INT8) else " or ".join(FLOAT_FILES)
    if present:
        listed = sorted(present)
        return (
            f"{source} has no {wanted}; its ONNX files are {', '.join(listed)}. "
            f"Name one of them, for example {ONNX}{source}#{listed[0]}"
        )
    return (
        f"{source} has no ONNX file; expected {wanted}. Export it with sentence-transformers: "
        f"pip install 'sentence-transformers[onnx]', then in Python: "
        f'SentenceTransformer("{source}", backend="onnx").save_pretrained("FOLDER")'
    )


# ------------------------------------------------------------------------------------------------------------- the Hub


@lru_cache(maxsize=8)
def _snapshot(source: str, choice: str) -> Path:
    """Return the folder of a model in the cache of the Hub client; a complete model needs no network."""
    from huggingface_hub import HfApi, snapshot_download

    if cached := _cached(source, _candidates(choice)):
        return cached
    try:
        on_hub = [file for file in HfApi().list_repo_files(source) if file.endswith(".onnx")]
    except Exception:
        # Without a network, a cached model in full precision can be quantized.
        if choice == INT8 and (cached := _cached(source, FLOAT_FILES)):
            return cached
        raise
    chosen = _choose(on_hub, choice) or (_choose(on_hub, "") if choice == INT8 else None)
    if chosen is None:
        raise ModelError(_missing(source, choice, on_hub))
    return Path(snapshot_download(source, allow_patterns=_patterns(chosen)))


def _cached(source: str, files: Sequence[str]) -> Path | None:
    """Return the folder of a model in the cache of the Hub client if one of the ONNX files is there, else None."""
    from huggingface_hub import snapshot_download

    for file in files:
        with contextlib.suppress(Exception):  # the model is not in the cache, or not completely
            folder = Path(snapshot_download(source, local_files_only=True, allow_patterns=_patterns(file)))
            if (folder / file).is_file():
                return folder
    return None


def _patterns(graph: str) -> list[str]:
    return [*_SETTINGS, graph, f"{graph}_data*", f"{graph}.data*"]


# -------------------------------------------------------------------------------------------------------- the graph


@dataclass(frozen=True)
class _Scan:
    external: tuple[str, ...]
    is_dynamic: bool


def _scan(graph: Path) -> _Scan:
    """Return what the protobuf of a graph contains. It is cached until the size or time of the file changes."""
    status = graph.stat()
    return _scanned((graph, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=16)
def _scanned(identity: tuple[Path, int, int]) -> _Scan:
    if not identity[2]:
        return _Scan((), False)
    with identity[0].open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as content:
        names = {
            content[found.end() : found.end() + found.group(1)[0]].decode("utf-8", "replace")
            for found in _EXTERNAL.finditer(content)
        }
        files = tuple(sorted(name for name in names if (identity[0].parent / name).is_file()))
        return _Scan(files, _DYNAMIC.search(content) is not None)


def _quantized(name: str, graph: Path) -> Path:
    """Return the int8 version of a graph, from the cache folder; it is written there if needed.

    Weights have 7 bits for each output channel, so that sums cannot overflow on a CPU without VNNI. Only the weights of
    matrix products and tables of tokens are quantized; activations get their scale while the model runs.

    Raises:
        MissingExtraError: onnx is not installed.
        ModelError: the model cannot be quantized.
    """
    source = OnnxFiles(graph.parent, graph).weights()
    release = re.sub(r"[^\w.]", "", version("onnxruntime"))
    target = cache_folder() / f"{combined_sha256(source)[:32]}-int8-{release}.onnx"
    if target.is_file():
        return target
    if find_spec("onnx") is None:
        raise MissingExtraError(
            f"embedder {name!r}: the model has no int8 file, and quantizing it needs onnx; run: pip install onnx, or "
            f"leave out #{INT8}"
        )
    from jina_data.run.files import atomic_path

    try:
        with atomic_path(target) as temporary:
            _quantize(graph, temporary)
    except Exception as error:
        raise ModelError(
            f"embedder {name!r}: {graph} cannot be quantized: {first_line(error)}. Leave out #{INT8}, or name a "
            "quantized file"
        ) from error
    return target


def _quantize(graph: Path, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(graph))
    # Without this mark, the quantizer logs an advice on its own preparation of graphs.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    quantize_dynamic(model, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def cache_folder() -> Path:
    """Return the folder of quantized models: in XDG_CACHE_HOME or ~/.cache, or a temporary one if it is read-only."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    nearest = next((folder for folder in (home, *home.parents) if folder.exists()), home)
    if os.access(nearest, os.W_OK):
        return home / "jina-data" / "onnx"
    return Path(tempfile.gettempdir()) / f"jina-data-onnx-{os.getuid()}"
