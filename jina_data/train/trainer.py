"""Trains a model into a run folder; a stopped run resumes and gives the same weights, bit for bit.

The loop is `_TrainSession.train`. The randomness of a step depends only on seed, step and process, and each checkpoint
contains the state of the data.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from jina_data.embed.device import settle_device
from jina_data.embed.model_files import combined_sha256, model_files
from jina_data.errors import DivergedError, StoppedError
from jina_data.html.page import MAX_ROWS, n_more
from jina_data.progress import Progress, SilentProgress
from jina_data.run.files import atomic_path, remove
from jina_data.run.inputs import check_apart
from jina_data.run.resume import ResumableRun, versions
from jina_data.train.batches import Batches, Prefetcher, PreparedBatch
from jina_data.train.checkpoint import TrainProgress, last_checkpoint, load_checkpoint, save_checkpoint
from jina_data.train.checks import ZeroLossWatch, end_warnings, learnable_rates, start_warnings
from jina_data.train.config import TrainConfig
from jina_data.train.evaluators import evaluate, read_eval
from jina_data.train.folder import TrainFolder
from jina_data.train.inputs import identify_inputs
from jina_data.train.machine import PACKAGES, device_name, peak_bytes, stop_on_signals, translate_resource_errors
from jina_data.train.meter import Metrics, StepMeter, step_meter
from jina_data.train.models import find_local_folder
from jina_data.train.optimizer import adamw, average_weights, copy_weights, learning_rate
from jina_data.train.processes import Processes, join_processes
from jina_data.train.prompts import settle_prompts
from jina_data.train.report import TrainReport, read_metrics, write_report
from jina_data.train.setup import count_steps, load_model, load_sources, make_phase
from jina_data.train.sources import source_rates

VERSION = 3
"""To be raised whenever the same settings and inputs give other weights."""

_TAIL_SHARE = 0.1


def train(
    config: TrainConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> TrainReport:
    """Train a model into a run folder, or resume the stopped run there.

    Raises:
        JinaDataError: settings, inputs, model, folder or machine cannot be used.
    """
    return Trainer(config, out, overwrite=overwrite, progress=progress).run()


class Trainer:
    """Trains a model into a run folder."""

    def __init__(
        self, config: TrainConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
    ) -> None:
        """Set the settings and the run folder; `overwrite` replaces an earlier run there."""
        self.config = config
        self.folder = TrainFolder(Path(out))
        self.overwrite = overwrite
        self.progress = progress or SilentProgress()

    def run(self) -> TrainReport:
        """Train, or resume a stopped run; a finished run is not changed.

        Raises:
            JinaDataError: settings, inputs, model, folder or machine cannot be used.
        """
        check_apart(self.config.inputs, self.folder.path)
        device = settle_device(self.config.device)
        with ExitStack() as stack:
            processes = stack.enter_context(join_processes(device))
            if not processes.is_first:
                self.progress = SilentProgress()
            run = ResumableRun(self.folder, self._fingerprint(), self.progress, overwrite=self.overwrite)
            if processes.broadcast(run.is_finished() if processes.is_first else None):
                run.report_finished()
                return TrainReport.load(self.folder.path)
            if processes.is_first:
                stack.enter_context(run.session())
            if processes.broadcast(run.is_complete if processes.is_first else None):
                report = TrainReport.load(self.folder.out)
            else:
                name = f"cuda:{processes.local_rank}" if device == "cuda" and processes.world > 1 else device
                report = _TrainSession(self.config, run, processes, device=name).run()
            processes.broadcast(None)  # every process has its report before the first one moves the outputs
            if processes.is_first:
                run.finish()
            processes.broadcast(None)
            return replace(report, path=self.folder.path)

    def _fingerprint(self) -> dict[str, Any]:
        folder = find_local_folder(self.config.model)
        start = combined_sha256(model_files(folder)) if folder else self.config.model
        inputs = identify_inputs(self.config.inputs)
        return {"version": VERSION, "settings": self.config.fingerprint(), "inputs": inputs, "start": start}


class _TrainSession:
    """One process in one session of a run."""

    def __init__(
        self, config: TrainConfig, run: ResumableRun[TrainFolder], processes: Processes, *, device: str
    ) -> None:
        self.config, self.resumable_run, self.progress, self.processes = config, run, run.progress, processes
        self.folder = folder = run.folder
        self.device = torch.device(device)
        self.sources = load_sources(config, folder, processes, self.progress)
        self.evals = [read_eval(path) for path in config.eval_files]
        self.model = load_model(config, folder, self.sources, processes, device=device, progress=self.progress)
        self.start = copy_weights(self.model.module) if config.average_start else []
        self.budget = config.micro_tokens or self.model.micro_tokens[self.device.type]
        self.phase = make_phase(self.model, config, processes, token_budget=self.budget, cast=self._cast)
        self.phase.check(self.sources)
        self.prompts, self._prompts_line = settle_prompts(self.model.prompted, config)
        self.phase.prompts = self.prompts
        self.optimizer = adamw(self.model.module, phase=config.phase, weight_decay=config.weight_decay)
        rates, self.warnings = learnable_rates(self.sources, source_rates(self.sources, config), config)
        self.batches = Batches(self.sources, rates, config)
        self.steps = count_steps(config, self.sources)
        self.rate = config.peak(is_static=self.model.is_static)
        self.warnings += start_warnings(
            self.sources, rates, config, steps=self.steps, is_static=self.model.is_static, rate=self.rate
        )
        self.is_stopped = False
        self.zero_loss = ZeroLossWatch(self.steps)

    def run(self) -> TrainReport:
        """Do the remaining steps, then write the model and the report."""
        done = self._resume()
        if self.processes.is_first:
            self.metrics = Metrics(self.folder.metrics, step=done.step, tensorboard=self.folder.path / "tensorboard")
        self._report_start(done)
        try:
            with (
                stop_on_signals(self._stop),
                translate_resource_errors(self.config, self.folder.path, token_budget=self.budget),
            ):
                done = self.train(done)
                return self._write_outputs(done)
        finally:
            if self.processes.is_first:
                self.metrics.close()

    # ------------------------------------------------------------------------------------------------- the loop

    def train(self, done: TrainProgress) -> TrainProgress:
        """Do the remaining steps."""
        save_every = self.config.save_every or max(1, math.ceil(self.steps / 10))
        if not done.step:
            self._evaluate(done)
        started = time.perf_counter() - done.seconds
        with (
            step_meter(self.progress, self.steps, done.step) as meter,
            Prefetcher(self.batches, self.phase.prepare, range(done.step, self.steps)) as batches,
        ):
            for prepared in batches:
                loss, norm, rate = self.step(prepared)
                tokens, is_stopped = self._sum_over_processes(prepared)
                seconds = time.perf_counter() - started
                done = TrainProgress(done.step + 1, done.tokens + tokens, round(seconds, 3), prepared.state)
                meter.advance(loss, tokens)
                if line := self.zero_loss.add(loss):
                    self.progress.message(line)
                self._log(done, prepared, meter, loss=loss, norm=norm, rate=rate)
                is_last = done.step == self.steps
                if is_last or (self.config.eval_every and done.step % self.config.eval_every == 0):
                    self._evaluate(done)
                if is_last or is_stopped or done.step % save_every == 0:
                    self._save(done)
                if is_stopped and not is_last:
                    raise StoppedError(
                        f"stopped after step {done.step:,} of {self.steps:,}. Run the same command again to resume the "
                        f"run in {self.folder.path}"
                    )
        return done

    def step(self, prepared: PreparedBatch) -> tuple[float, float, float]:
        """Do one step; return loss, gradient norm and learning rate.

        Raises:
            DivergedError: the loss or the gradient is not finite; the batch was saved.
        """
        config, step = self.config, prepared.batch.step
        rate = learning_rate(
            step, steps=self.steps, warmup_steps=config.warmup_steps, peak=self.rate, schedule=config.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(_step_seed(config.seed, step, self.processes.rank))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.phase.step(prepared)
        self.processes.sum_gradients(self.model.module)
        norm = torch.nn.utils.clip_grad_norm_(self.model.module.parameters(), config.max_grad_norm)
        numbers = float(loss), float(norm)
        if not all(map(math.isfinite, numbers)):
            raise self._diverged(prepared, *numbers)
        self.optimizer.step()
        return (*numbers, rate)

    def _sum_over_processes(self, prepared: PreparedBatch) -> tuple[int, bool]:
        """Return the tokens of a step in all processes, and whether any process got a stop signal."""
        if self.processes.world == 1:
            return prepared.n_tokens, self.is_stopped
        local = torch.tensor([prepared.n_tokens, int(self.is_stopped)], device=self.device)
        tokens, stops = self.processes.sum(local).tolist()
        return int(tokens), bool(stops)

    # ----------------------------------------------------------------------------------------- before and after

    def _cast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _resume(self) -> TrainProgress:
        newest = last_checkpoint(self.folder.checkpoints) if self.processes.is_first else None
        path = self.processes.broadcast(newest)
        if path is None:
            return TrainProgress()
        done = load_checkpoint(path, self.model.module, self.optimizer)
        self.batches.restore(done.data)
        self.progress.message(f"resuming after step {done.step:,}")
        return done

    def _report_start(self, done: TrainProgress) -> None:
        n_weights = sum(weight.numel() for weight in self.model.module.parameters())
        sources = ", ".join(
            f"{source.name} {source.n_rows:,} ({rate:.0%})"
            for source, rate in list(zip(self.sources, self.batches.rates, strict=True))[:MAX_ROWS]
        )
        more = f" and {n:,} more" if (n := n_more(self.sources)) else ""
        self.progress.message(f"sources: {sources}{more}")
        default = "" if self.config.learning_rate else " (default)"
        self.progress.message(
            f"{self.steps - done.step:,} steps, {n_weights:,} weights, learning rate {self.rate:g}{default}, on "
            f"{self.device}"
        )
        if self._prompts_line:
            self.progress.message(self._prompts_line)
        for warning in self.warnings:
            self.progress.message(f"warning: {warning}")

    def _evaluate(self, done: TrainProgress) -> None:
        if not (self.evals and self.processes.is_first):
            return
        length = min(self.config.length, self.model.max_length or self.config.length)
        scores: dict[str, float] = {}
        for table in self.evals:
            scores |= evaluate(
                self.model,
                table,
                max_length=length,
                token_budget=self.budget,
                cast=self._cast,
                prompts=self.prompts,
            )
        rounded = {name: round(score, 6) for name, score in scores.items()}
        self.metrics.write({"step": done.step, "seconds": done.seconds, "eval": rounded})
        self.progress.message(
            f"step {done.step:,}: " + ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
        )

    def _log(
        self, done: TrainProgress, prepared: PreparedBatch, meter: StepMeter, *, loss: float, norm: float, rate: float
    ) -> None:
        if not self.processes.is_first or (done.step % self.config.log_every and done.step != self.steps):
            return
        seconds = max(time.monotonic() - meter.started, 1e-9)
        numbers = {"loss": loss, "lr": rate, "grad_norm": norm, "tokens": done.tokens, "seconds": done.seconds}
        context = {"tokens_per_second": round(meter.tokens / seconds, 1), "source": prepared.batch.source}
        self.metrics.write({"step": done.step, **numbers, **context})

    def _save(self, done: TrainProgress) -> None:
        if self.processes.is_first:
            keep = self.config.keep_checkpoints
            save_checkpoint(self.folder.checkpoints, done, self.model.module, self.optimizer, keep=keep)
        self.processes.broadcast(None)

    def _stop(self) -> None:
        self.is_stopped = True

    def _diverged(self, prepared: PreparedBatch, loss: float, norm: float) -> DivergedError:
        path = self.folder.path / "failed" / f"batch-{prepared.batch.step + 1:08d}.parquet"
        if self.processes.is_first:
            examples = prepared.batch.examples
            rows = [{**example._asdict(), "negatives": list(example.negatives)} for example in examples]
            with atomic_path(path) as temporary:
                pq.write_table(pa.Table.from_pylist(rows), temporary)
        return DivergedError(
            f"step {prepared.batch.step + 1:,}: the loss is {loss} and the gradient norm {norm}; expected finite "
            f"numbers. The batch, from source {prepared.batch.source!r}, is saved in {path}. Lower --learning-rate, "
            "raise --warmup-steps, or use --precision fp32; the last checkpoint is kept"
        )

    def _write_outputs(self, done: TrainProgress) -> TrainReport:
        """Write the model and the report, and mark the outputs as complete."""
        if self.start:
            average_weights(self.model.module, self.start, share=self.config.average_start)
            self.progress.message(f"averaged with the initial weights (share {self.config.average_start:g})")
            self._evaluate(done)
        report = self._report(done)
        if self.processes.is_first:
            model = self.folder.out / "model"
            remove(model)
            self.model.save(model)
            write_report(report, read_metrics(self.folder.metrics), self.folder.out)
            self.resumable_run.mark_complete(self._manifest())
        return report

    def _report(self, done: TrainProgress) -> TrainReport:
        metrics = read_metrics(self.folder.metrics) if self.processes.is_first else []
        losses = [line["loss"] for line in metrics if "loss" in line]
        n_tail = max(1, int(_TAIL_SHARE * len(losses)))
        scores = [line["eval"] for line in metrics if "eval" in line]
        source_rows = self.batches.source_rows(done.data)
        return TrainReport(
            path=self.folder.path,
            phase=self.config.phase,
            steps=self.steps,
            tokens=done.tokens,
            seconds=done.seconds,
            first_loss=float(np.mean(losses[:n_tail])) if losses else math.nan,
            last_loss=float(np.mean(losses[-n_tail:])) if losses else math.nan,
            scores=scores[-1] if scores else {},
            sources=source_rows,
            warnings=[*self.warnings, *end_warnings(source_rows, losses)],
            parameters=sum(weight.numel() for weight in self.model.module.parameters()),
            processes=self.processes.world,
            device=device_name(self.device),
            peak_memory_bytes=peak_bytes(self.device),
            settings={**self.config.to_json(), "learning_rate": self.rate},
        )

    def _manifest(self) -> dict[str, Any]:
        return {
            "kind": "train",
            "phase": self.config.phase,
            "settings": self.config.to_json(),
            "seed": self.config.seed,
            "steps": self.steps,
            "processes": self.processes.world,
            "versions": versions(PACKAGES),
        }


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
