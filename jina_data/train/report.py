"""The report of a training run: numbers, curves, and the rows of each source."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Self

from jina_data.errors import RunFolderError
from jina_data.html.curves import curve
from jina_data.html.page import largest, n_more
from jina_data.run.files import atomic_file, write_json


@dataclass(frozen=True)
class TrainReport:
    """The report of a run, as in `report.json`."""

    path: Path
    phase: str
    steps: int
    tokens: int
    seconds: float
    first_loss: float
    """Mean of the first tenth of the steps."""
    last_loss: float
    """Mean of the last tenth of the steps."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The last evaluation."""
    sources: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    """What keeps the run from learning, such as batches of equal texts."""
    parameters: int = 0
    processes: int = 1
    device: str = "cpu"
    peak_memory_bytes: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return self.path / "model"

    @property
    def tokens_per_second(self) -> float:
        """Trained tokens per second, without padding; the time includes evaluations and checkpoints."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the contents of report.json."""
        return {**asdict(self), "path": str(self.path), "tokens_per_second": round(self.tokens_per_second, 1)}

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read the report of a finished run.

        Raises:
            RunFolderError: there is no report, or it cannot be read.
        """
        path = Path(folder) / "report.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            values.pop("tokens_per_second")
            return cls(**{**values, "path": Path(folder)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{path} cannot be read: {error}. Is {folder} the folder of a training run?") from None

    def lines(self) -> Iterator[str]:
        """Yield the lines that the command prints."""
        yield (
            f"{self.phase}: {self.steps:,} steps, {self.tokens:,} tokens in {self.seconds:,.1f} s "
            f"({self.tokens_per_second:,.0f} tokens/s on {self.device})"
        )
        yield f"loss {self.first_loss:.4f} -> {self.last_loss:.4f}"
        lacking = [source for source in self.sources if source["unusable"]]
        for source in largest(lacking, "unusable"):
            yield f"{source['source']}: {source['unusable']:,} of {source['rows']:,} rows lack a text and were skipped"
        if n := n_more(lacking):
            yield f"and {n:,} more sources have rows that lack a text"
        for warning in self.warnings:
            yield f"warning: {warning}"
        for name, score in self.scores.items():
            yield f"{name} {score:.4f}"
        yield f"model: {self.model}"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl, skipping a line that a killed process left incomplete."""
    lines = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


def write_report(report: TrainReport, metrics: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write report.json and report.html into a folder."""
    write_json(folder / "report.json", report.to_json())
    with atomic_file(folder / "report.html", "w") as sink:
        sink.write(_page(report, metrics))


def _page(report: TrainReport, metrics: Sequence[Mapping[str, Any]]) -> str:
    style = resources.files("jina_data").joinpath("templates/report.css").read_text(encoding="utf-8")
    charts = [
        curve(name, points, is_noisy=name.startswith(("loss", "grad_norm")))
        for name, points in _series(metrics).items()
        if len(points) > 1
    ]
    facts = "".join(f"<p>{html.escape(line)}</p>" for line in report.lines())
    title = f"{report.path.resolve().name}: {report.phase}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>\n'
        f"<style>{style}</style></head>\n<body><header><h1>{html.escape(title)}</h1>\n{facts}</header><main>\n"
        f'<h2>Curves</h2>\n<div class="charts">{"".join(charts)}</div>\n'
        f"<h2>Sources</h2>\n{_table(largest(report.sources, 'rows'))}{_more(report.sources)}\n"
        f"<h2>Settings</h2>\n{_table([{'setting': k, 'value': _format(v)} for k, v in report.settings.items()])}\n"
        "</main></body></html>\n"
    )


def _more(sources: Sequence[Any]) -> str:
    n = n_more(sources)
    return f"<p>and {n:,} more sources; see report.json</p>" if n else ""


def _series(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return the curves by step: loss (also by source), gradient norm, learning rate, speed, and each score."""
    out: dict[str, list[tuple[float, float]]] = {}
    several = len({line["source"] for line in metrics if "source" in line}) > 1
    for line in metrics:
        values = {key: line[key] for key in ("loss", "grad_norm", "lr", "tokens_per_second") if key in line}
        if several and "source" in line:
            values[f"loss, {line['source']}"] = line["loss"]
        for name, value in {**values, **line.get("eval", {})}.items():
            out.setdefault(name, []).append((float(line["step"]), float(value)))
    return out


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(rows[0])
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{_class(row[name])}">{html.escape(_format(row[name]))}</td>' for name in names)
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _class(value: Any) -> str:
    return "n" if isinstance(value, int | float) and not isinstance(value, bool) else "name"


def _format(value: Any) -> str:
    if value is None or value in ([], {}, ()):
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={entry}" for name, entry in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
