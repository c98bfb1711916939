"""Opens the folder of a finished run or a trained model for publishing, and checks that it is unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_data.errors import RunFolderError
from jina_data.publish.facts import PublishableRun
from jina_data.run.files import sha256_of
from jina_data.run.folder import RunFolder

if TYPE_CHECKING:
    from jina_data.publish.model_folder import TrainedModel


def open_folder(folder: str | Path) -> PublishableRun | TrainedModel:
    """Open a finished run, by the kind in its manifest, or a trained model.

    Raises:
        RunFolderError: the folder holds no finished run or model, was altered, or its kind cannot be published.
    """
    from jina_data.publish.clean_run import CleanRun
    from jina_data.publish.mine_run import MineRun
    from jina_data.publish.model_folder import TrainedModel
    from jina_data.publish.negate_run import NegateRun

    path = Path(folder)
    if not path.is_dir():
        raise RunFolderError(f"{path}: no such folder; expected the folder of a finished run")
    run = RunFolder(path)
    if TrainedModel.is_model(path):
        return TrainedModel(path)
    if not run.manifest.exists():
        state = "an unfinished run; run its command again to resume it" if run.work.exists() else "no run"
        raise RunFolderError(f"{path} holds {state}; expected the folder of a finished run (with manifest.json)")
    if not run.is_finished:
        raise RunFolderError(f"{path}: a new run in this folder is unfinished; run its command again and let it finish")
    manifest = run.read_json(run.manifest)
    kinds: dict[str, type[CleanRun | MineRun | NegateRun]] = {"clean": CleanRun, "mine": MineRun, "negate": NegateRun}
    kind = manifest.get("kind") if isinstance(manifest, dict) else None
    if kind not in kinds:
        raise RunFolderError(
            f"{run.manifest}: kind {kind!r} cannot be published; expected {', '.join(kinds)}, or the folder of a model"
        )
    check_outputs(run, manifest)
    return kinds[kind](path, manifest)


def check_outputs(run: RunFolder, manifest: Mapping[str, Any]) -> None:
    """Compare the files of a run with the sizes and hashes in its manifest.

    Raises:
        RunFolderError: a file is missing, was changed, or is not in the manifest.
    """
    outputs = manifest.get("outputs", {})
    advice = "only the unchanged output of a run can be published. Run it again with --overwrite"
    for name, output in outputs.items():
        path = run.path / name
        if not path.is_file():
            raise RunFolderError(f"{path} is missing, though {run.manifest} lists it; {advice}")
        size = path.stat().st_size
        if size != output["size"]:
            raise RunFolderError(
                f"{path} has {size:,} bytes, but had {output['size']:,} when the run finished; {advice}"
            )
        if sha256_of(path) != output["sha256"]:
            raise RunFolderError(f"{path} was altered after the run finished (its sha256 differs); {advice}")
    for path in sorted((run.path / "data").rglob("*")):
        name = path.relative_to(run.path).as_posix()
        if path.is_file() and name not in outputs:
            raise RunFolderError(f"{path} is not in {run.manifest}; {advice}, or move the file away")
