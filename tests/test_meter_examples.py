"""The examples of loops of one's own: the plain one, and Lightning's callback.

Where Lightning is not installed, what stands in for it calls the hooks in the order that its documentation gives
(lightning.ai/docs/pytorch/stable/common/lightning_module.html#hooks): with accumulated gradients `global_step` counts
steps of the optimizer, and the schedule is stepped before `on_train_batch_end`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import everybatch as eb
from metering import Net, net, pixels

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plain_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = example("own_loop").main(train=1_600, test=200, folder=str(tmp_path / "run"))
    assert (run.state, run.steps, run.epochs) == ("finished", 25, 1)
    assert run.config["meter"]["measured_by"] == "plan"
    assert run.final_accuracy > 0.4
    assert run.lr[0] == 0.01
    assert run.lr[-1] < 0.001
    assert "step   20: loss" in capsys.readouterr().out
    assert eb.load_run(tmp_path / "run").test_loss.tolist() == run.test_loss.tolist()


class Trainer:
    """As much of Lightning's as calls a callback: two batches to a step."""

    def __init__(
        self, callback: Any, module: torch.nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        self.callback, self.module, self.batches = callback, module, batches
        self.global_step, self.is_global_zero, self.losses = 0, True, []

    def fit(self) -> None:
        optimizer = torch.optim.SGD(self.module.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        self.module.train()
        self.callback.on_train_start(self, self.module)
        try:
            for place, (images, labels) in enumerate(self.batches):
                loss = F.cross_entropy(self.module(images), labels) / 2
                loss.backward()
                if place % 2:
                    self.callback.on_before_optimizer_step(self, self.module, optimizer)
                    optimizer.step()
                    optimizer.zero_grad()
                    schedule.step()
                    self.global_step += 1
                outputs = {"loss": loss.detach()}
                self.callback.on_train_batch_end(self, self.module, outputs, (images, labels), place)
        except BaseException as error:
            self.callback.on_exception(self, self.module, error)
            raise
        self.callback.on_train_end(self, self.module)


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> Any:
    if importlib.util.find_spec("lightning") is None:
        there: Any = ModuleType("lightning.pytorch")
        there.Callback = object
        monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
        monkeypatch.setitem(sys.modules, "lightning.pytorch", there)
    return example("lightning_meter").MeterCallback


def batches(data: eb.Dataset) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images, labels = pixels(data.train_images, data.mean, data.std), torch.tensor(data.train_labels)
    return list(zip(images[:128].split(16), labels[:128].split(16), strict=True))


def test_the_callback_measures_steps_of_the_optimizer(glyphs: eb.Dataset, callback: Any) -> None:
    module, told = net(), callback(glyphs, steps_per_epoch=4)
    Trainer(told, module, batches(glyphs)).fit()
    run = told.meter.run
    assert (run.state, run.steps, run.eval_step.tolist()) == ("finished", 4, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(run.lr, [0.1, 0.05, 0.025, 0.0125])
    assert told.meter.measured_by == "plan"
    assert module.training


def test_the_callback_keeps_what_was_recorded_before_an_error(glyphs: eb.Dataset, callback: Any) -> None:
    module, told, given = net(), callback(glyphs), batches(glyphs)
    given[5] = (given[5][0][:, :, :3, :3], given[5][1])
    with pytest.raises(RuntimeError):
        Trainer(told, module, given).fit()
    assert told.meter.run.interrupted
    assert told.meter.run.steps == 2


@pytest.mark.filterwarnings("ignore")  # its own
def test_lightning_itself(glyphs: eb.Dataset, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    images, labels = pixels(glyphs.train_images, glyphs.mean, glyphs.std), torch.tensor(glyphs.train_labels)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), 16)
    told = example("lightning_meter").MeterCallback(glyphs)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[told], accumulate_grad_batches=2, default_root_dir=tmp_path, **quiet
    )
    trainer.fit(Module(), loader)
    assert told.meter.run.steps == 5
    assert told.meter.run.state == "finished"
    assert told.meter.measured_by == "plan", told.meter.reason
