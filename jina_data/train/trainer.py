"""The trainer: from settings to a trained model in a run folder. It stops anywhere and goes on to the same weights.

The loop is `_Session.train`. What is random in a step depends on seed, step and process alone; where the data stands is
part of each checkpoint.
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
from jina_data.progress import Progress, Quiet
from jina_data.run.files import remove, whole_path
from jina_data.run.resume import ResumableRun
from jina_data.train.batches import Batches, Prefetcher, PreparedBatch
from jina_data.train.checkpoint import Progressed, last_checkpoint, load_checkpoint, save_checkpoint
from jina_data.train.config import TrainConfig
from jina_data.train.evaluators import evaluate, read_eval
from jina_data.train.folder import TrainFolder
from jina_data.train.inputs import identities
from jina_data.train.machine import device_name, peak_bytes, resource_errors, stopping, versions
from jina_data.train.meter import Meter, Metrics, metered
from jina_data.train.models import started_folder
from jina_data.train.optimizer import adamw, average_weights, copied, learning_rate
from jina_data.train.processes import Processes, joined
from jina_data.train.report import TrainReport, read_metrics, write_report
from jina_data.train.setup import count_steps, find_sources_together, load_start, phase_of
from jina_data.train.sources import source_rates

VERSION = 2
"""Raised when the same settings and inputs give other weights."""

_TAIL_SHARE = 0.1


def train(
    config: TrainConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> TrainReport:
    """Train a model into a run folder, or resume the run that was stopped there.

    Raises:
        JinaDataError: settings, inputs, model, folder or machine cannot be used.
    """
    return Trainer(config, out, overwrite=overwrite, progress=progress).run()


class Trainer:
    """Trains a model by settings, into a run folder."""

    def __init__(
        self, config: TrainConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
    ) -> None:
        """Take settings and a folder; `overwrite` replaces an earlier run there."""
        self.config = config
        self.folder = TrainFolder(Path(out))
        self.overwrite = overwrite
        self.progress = progress or Quiet()

    def run(self) -> TrainReport:
        """Train, or go on with a run that was stopped; a finished run is left as it is.

        Raises:
            JinaDataError: settings, inputs, model, folder or machine are not as they must be.
        """
        device = settle_device(self.config.device)
        with ExitStack() as stack:
            processes = stack.enter_context(joined(device))
            if not processes.is_first:
                self.progress = Quiet()
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
                report = _Session(self.config, run, processes, device=name).run()
            if processes.is_first:
                run.finish()
            processes.broadcast(None)
            return replace(report, path=self.folder.path)

    def _fingerprint(self) -> dict[str, Any]:
        folder = started_folder(self.config.model)
        start = combined_sha256(model_files(folder)) if folder else self.config.model
        inputs = identities(self.config.inputs)
        return {"version": VERSION, "settings": self.config.deciding(), "inputs": inputs, "start": start}


class _Session:
    """One process of one session of a run."""

    def __init__(self, config: TrainConfig, run: ResumableRun, processes: Processes, *, device: str) -> None:
        self.config, self.state, self.progress, self.processes = config, run, run.progress, processes
        self.folder = folder = TrainFolder(run.folder.path)
        self.device = torch.device(device)
        self.sources = find_sources_together(config, folder, processes, self.progress)
        self.evals = [read_eval(path) for path in config.eval_files]
        self.trainee = load_start(config, folder, self.sources, processes, device=device, progress=self.progress)
        self.start = copied(self.trainee.module) if config.average_start else []
        self.budget = config.micro_tokens or self.trainee.micro_tokens[self.device.type]
        self.phase = phase_of(self.trainee, config, processes, token_budget=self.budget, cast=self._cast)
        self.phase.check(self.sources)
        self.optimizer = adamw(self.trainee.module, phase=config.phase, weight_decay=config.weight_decay)
        self.batches = Batches(self.sources, source_rates(self.sources, config), config)
        self.steps = count_steps(config, self.sources)
        self.is_stopped = False

    def run(self) -> TrainReport:
        """Do the remaining steps, and write model and report."""
        done = self._resume()
        if self.processes.is_first:
            self.metrics = Metrics(self.folder.metrics, step=done.step, tensorboard=self.folder.path / "tensorboard")
        self._tell(done)
        try:
            with (
                stopping(self._stop),
                resource_errors(self.config, self.folder.path, token_budget=self.budget),
            ):
                done = self.train(done)
                return self._write_outputs(done)
        finally:
            if self.processes.is_first:
                self.metrics.close()

    # ------------------------------------------------------------------------------------------------- the loop

    def train(self, done: Progressed) -> Progressed:
        """Do the steps that are left."""
        save_every = self.config.save_every or max(1, math.ceil(self.steps / 10))
        if not done.step:
            self._evaluate(done)
        started = time.perf_counter() - done.seconds
        with (
            metered(self.progress, self.steps, done.step) as meter,
            Prefetcher(self.batches, self.phase.prepare, range(done.step, self.steps)) as feed,
        ):
            for work in feed:
                loss, norm, rate = self.step(work)
                tokens, is_stopped = self._told(work)
                seconds = time.perf_counter() - started
                done = Progressed(done.step + 1, done.tokens + tokens, round(seconds, 3), work.state)
                meter.advance(loss, tokens)
                self._log(done, work, meter, loss=loss, norm=norm, rate=rate)
                is_last = done.step == self.steps
                if is_last or (self.config.eval_every and done.step % self.config.eval_every == 0):
                    self._evaluate(done)
                if is_last or is_stopped or done.step % save_every == 0:
                    self._save(done)
                if is_stopped and not is_last:
                    raise StoppedError(
                        f"stopped after step {done.step:,} of {self.steps:,}. Give the same command again: the run in "
                        f"{self.folder.path} goes on from there"
                    )
        return done

    def step(self, work: PreparedBatch) -> tuple[float, float, float]:
        """Do one step; return loss, length of the gradient, and learning rate.

        Raises:
            DivergedError: loss or gradient are not finite; the batch was saved.
        """
        config, step = self.config, work.batch.step
        rate = learning_rate(
            step, steps=self.steps, warmup_steps=config.warmup_steps, peak=config.peak, schedule=config.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(_step_seed(config.seed, step, self.processes.rank))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.phase.step(work)
        self.processes.sum_gradients(self.trainee.module)
        norm = torch.nn.utils.clip_grad_norm_(self.trainee.module.parameters(), config.max_grad_norm)
        numbers = float(loss), float(norm)
        if not all(map(math.isfinite, numbers)):
            raise self._diverged(work, *numbers)
        self.optimizer.step()
        return (*numbers, rate)

    def _told(self, work: PreparedBatch) -> tuple[int, bool]:
        """Return the tokens of all processes in a step, and whether one of them is to stop."""
        if self.processes.world == 1:
            return work.n_tokens, self.is_stopped
        said = torch.tensor([work.n_tokens, int(self.is_stopped)], device=self.device)
        tokens, stops = self.processes.sum(said).tolist()
        return int(tokens), bool(stops)

    # ----------------------------------------------------------------------------------------- before and after

    def _cast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _resume(self) -> Progressed:
        found = last_checkpoint(self.folder.checkpoints) if self.processes.is_first else None
        path = self.processes.broadcast(found)
        if path is None:
            return Progressed()
        done = load_checkpoint(path, self.trainee.module, self.optimizer)
        self.batches.restore(done.data)
        self.progress.message(f"from step {done.step:,}")
        return done

    def _tell(self, done: Progressed) -> None:
        n_weights = sum(weight.numel() for weight in self.trainee.module.parameters())
        sources = ", ".join(
            f"{source.name} {source.n_rows:,} ({rate:.0%})"
            for source, rate in zip(self.sources, self.batches.rates, strict=True)
        )
        self.progress.message(f"sources: {sources}")
        self.progress.message(f"{self.steps - done.step:,} steps, {n_weights:,} weights, on {self.device}")

    def _evaluate(self, done: Progressed) -> None:
        if not (self.evals and self.processes.is_first):
            return
        length = min(self.config.length, self.trainee.max_length or self.config.length)
        scores: dict[str, float] = {}
        for table in self.evals:
            scores |= evaluate(self.trainee, table, max_length=length, token_budget=self.budget, cast=self._cast)
        rounded = {name: round(score, 6) for name, score in scores.items()}
        self.metrics.write({"step": done.step, "seconds": done.seconds, "eval": rounded})
        self.progress.message(
            f"step {done.step:,}: " + ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
        )

    def _log(
        self, done: Progressed, work: PreparedBatch, meter: Meter, *, loss: float, norm: float, rate: float
    ) -> None:
        if not self.processes.is_first or (done.step % self.config.log_every and done.step != self.steps):
            return
        seconds = max(time.monotonic() - meter.started, 1e-9)
        numbers = {"loss": loss, "lr": rate, "grad_norm": norm, "tokens": done.tokens, "seconds": done.seconds}
        told = {"tokens_per_second": round(meter.tokens / seconds, 1), "source": work.batch.source}
        self.metrics.write({"step": done.step, **numbers, **told})

    def _save(self, done: Progressed) -> None:
        if self.processes.is_first:
            keep = self.config.keep_checkpoints
            save_checkpoint(self.folder.checkpoints, done, self.trainee.module, self.optimizer, keep=keep)
        self.processes.broadcast(None)

    def _stop(self) -> None:
        self.is_stopped = True

    def _diverged(self, work: PreparedBatch, loss: float, norm: float) -> DivergedError:
        path = self.folder.path / "failed" / f"batch-{work.batch.step + 1:08d}.parquet"
        if self.processes.is_first:
            rows = [{**one._asdict(), "negatives": list(one.negatives)} for one in work.batch.examples]
            with whole_path(path) as temporary:
                pq.write_table(pa.Table.from_pylist(rows), temporary)
        return DivergedError(
            f"step {work.batch.step + 1:,}: the loss is {loss} and the gradient's length {norm}; expected finite "
            f"numbers. The batch of source {work.batch.source!r} is in {path}. Lower --learning-rate, raise "
            "--warmup-steps, or use --precision fp32; the last checkpoint stays"
        )

    def _write_outputs(self, done: Progressed) -> TrainReport:
        """Write model and report, and mark the outputs as complete."""
        if self.start:
            average_weights(self.trainee.module, self.start, share=self.config.average_start)
            self.progress.message(f"averaged with the start, which weighs {self.config.average_start:g}")
            self._evaluate(done)
        report = self._report(done)
        if self.processes.is_first:
            model = self.folder.out / "model"
            remove(model)
            self.trainee.save(model)
            write_report(report, read_metrics(self.folder.metrics), self.folder.out)
            self.state.mark_complete(self._manifest())
        self.processes.broadcast(None)
        return report

    def _report(self, done: Progressed) -> TrainReport:
        metrics = read_metrics(self.folder.metrics) if self.processes.is_first else []
        losses = [line["loss"] for line in metrics if "loss" in line]
        n_tail = max(1, int(_TAIL_SHARE * len(losses)))
        scores = [line["eval"] for line in metrics if "eval" in line]
        return TrainReport(
            path=self.folder.path,
            phase=self.config.phase,
            steps=self.steps,
            tokens=done.tokens,
            seconds=done.seconds,
            first_loss=float(np.mean(losses[:n_tail])) if losses else math.nan,
            last_loss=float(np.mean(losses[-n_tail:])) if losses else math.nan,
            scores=scores[-1] if scores else {},
            sources=self.batches.told(done.data),
            parameters=sum(weight.numel() for weight in self.trainee.module.parameters()),
            processes=self.processes.world,
            device=device_name(self.device),
            peak_memory_bytes=peak_bytes(self.device),
            settings=self.config.to_json(),
        )

    def _manifest(self) -> dict[str, Any]:
        return {
            "kind": "train",
            "phase": self.config.phase,
            "settings": self.config.to_json(),
            "seed": self.config.seed,
            "steps": self.steps,
            "processes": self.processes.world,
            "versions": versions(),
        }


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
