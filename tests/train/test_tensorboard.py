"""TensorBoard events equal metrics.jsonl, without duplicates after a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from jina_data.train.meter import Metrics


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_shows_the_metrics_of_a_run_that_went_on(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    losses = {1: 3.5, 2: 2.5, 3: 2.25, 4: 2.0}
    first = Metrics(tmp_path / "metrics.jsonl", step=0, tensorboard=tmp_path / "board")
    for step in (1, 2, 3):
        first.write({"step": step, "loss": losses[step] + (step == 3), "lr": 0.1 * step})
    first.close()
    # The run was killed after step 3; the last checkpoint is from step 2.
    again = Metrics(tmp_path / "metrics.jsonl", step=2, tensorboard=tmp_path / "board")
    for step in (3, 4):
        again.write({"step": step, "loss": losses[step], "lr": 0.1 * step})
    again.write({"step": 4, "eval": {"sts/spearman": 0.75}})
    again.close()
    board = accumulator.EventAccumulator(str(tmp_path / "board"), purge_orphaned_data=True)
    board.Reload()
    assert {event.step: event.value for event in board.Scalars("loss")} == losses
    assert [event.step for event in board.Scalars("lr")] == [1, 2, 3, 4]
    assert [(event.step, event.value) for event in board.Scalars("sts/spearman")] == [(4, 0.75)]
