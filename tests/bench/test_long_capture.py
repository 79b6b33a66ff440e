from __future__ import annotations

import asyncio
from pathlib import Path

from asyncirq.whatif.kernels import parse_targets
from asyncirq.whatif.run import predict_one
from asyncirq.whatif.source import load
from tests.bench.long_capture import write_long_capture
from tests.bench.prediction import predict

STOCK = Path("traces/linux/a4-61-stock-e1000-icount")


def test_rounds_repeat_the_phases_and_are_predicted_alike(tmp_path: Path) -> None:
    write_long_capture(STOCK, 30_000, tmp_path / "trace.txt")
    (tmp_path / "meta.txt").write_text((STOCK / "meta.txt").read_text())
    source = load(tmp_path, ["8-disk-virtio-blk", "8-disk-virtio-blk-round1"])
    assert source.notes == {}
    first, second = source.metrics.phases
    assert second.quantities == first.quantities
    (target,) = parse_targets("stock", source.release)
    predicted = asyncio.run(predict_one(source, target)).metrics
    assert [phase.phase for phase in predicted.phases] == ["8-disk-virtio-blk", "8-disk-virtio-blk-round1"]
    assert [phase.interrupts for phase in predicted.phases] == [first.interrupts, first.interrupts]


def test_cost_of_a_prediction_is_measured() -> None:
    cost = predict(1_000, "stock")
    assert cost.seconds > 0
    assert cost.memory_mib >= 0
