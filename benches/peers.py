"""The same training in PyTorch alone: the peers that everybatch is measured against."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

import everybatch as eb


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """Images that go through PIL and are normalised one by one, as torchvision's MNIST and transforms do it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: float, std: float) -> None:
        self.images, self.labels, self.mean, self.std = images, labels, mean, std

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images[index], mode="L")
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))[None].float().div(255)
        return pixels.sub_(self.mean).div_(self.std), int(self.labels[index])


class Peer:
    """A training loop that measures test images after every step.

    ``plain`` is what one would write by hand: eager, float32, NCHW, everything in memory, the test set in batches of
    1000. ``loader`` is the same with images that come from `DataLoader`s of two worker processes. ``best`` is what a
    patient user gets out of PyTorch: channels-last, fused Adam, and the test set measured by a bfloat16 copy that
    torch.compile has frozen, in its best chunk. A frozen copy keeps the weights that it was compiled with, so this peer
    does *less* than the task: its figures would not be those of the weights of the moment. ``compiled``, for a GPU, is
    torch.compile(mode="reduce-overhead"), which records CUDA graphs, with fused Adam; it reads back once per pass.
    """

    def __init__(
        self,
        network: eb.Network,
        data: eb.Dataset,
        batch_size: int,
        test_images: int,
        kind: str = "plain",
        *,
        device: str = "cpu",
        precision: str = "float32",
        lr: float = 1e-3,
    ) -> None:
        self.net = eb.export.torch_module(network.initialize(0)).train().to(device)
        self.run: Callable[[torch.Tensor], torch.Tensor] = self.net
        self.batch_size, self.kind, self.classes = batch_size, kind, data.num_classes
        self.device, self.half = device, precision == "bfloat16" and kind != "best"
        mean, std = data.mean[0], data.std[0]
        test = data.test_images[:test_images], data.test_labels[:test_images]
        if kind == "loader":
            train_set = Digits(data.train_images, data.train_labels, mean, std)
            self.train_loader = DataLoader(train_set, batch_size, shuffle=True, num_workers=2)
            self.test_loader = DataLoader(Digits(*test, mean, std), 1000, num_workers=2)
            self.batches = self._from_loader()
        else:
            innermost = kind in ("best", "channels_last") or (kind == "compiled" and self.half)
            self.format = torch.channels_last if innermost else torch.contiguous_format
            self.images, self.test_images = (
                ((torch.tensor(images).float() / 255 - mean) / std)[:, None]
                .contiguous(memory_format=self.format)
                .to(device)
                for images in (data.train_images, test[0])
            )
            self.labels, self.test_labels = (torch.tensor(part).to(device) for part in (data.train_labels, test[1]))
            self.net.to(memory_format=self.format)
            self.batches = self._in_memory()
        fused = kind in ("best", "channels_last", "fused", "compiled")
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr, fused=fused)
        if kind == "best":
            self._freeze()
        if kind == "compiled":
            self.run = torch.compile(self.net, mode="reduce-overhead")

    def _freeze(self) -> None:
        import torch._inductor.config as inductor

        inductor.freezing = True
        # With one channel both layouts are the same, and inductor 2.11 trips over strides that say channels-last.
        self.test_images = self.test_images.bfloat16().clone(memory_format=torch.contiguous_format)
        self.frozen = torch.compile(copy.deepcopy(self.net).bfloat16().eval(), dynamic=False)

        def seconds(chunk: int) -> float:
            self.chunk = chunk
            found = []
            for _ in range(3):
                start = time.perf_counter()
                self.measure()
                found.append(time.perf_counter() - start)
            return min(found)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.chunk = min((100, 250, 1000), key=seconds)

    def _in_memory(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            for batch in torch.randperm(len(self.labels), device=self.device).split(self.batch_size):
                if self.kind == "compiled" and len(batch) < self.batch_size:
                    continue  # another shape would be compiled for it
                yield self.images[batch], self.labels[batch]

    def _from_loader(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from self.train_loader

    def step(self) -> torch.Tensor:
        """One optimizer step, and its loss."""
        images, labels = next(self.batches)
        if self.kind in ("best", "channels_last"):
            images = images.contiguous(memory_format=torch.channels_last)
        self.net.train()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self._logits(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        if self.kind == "compiled":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.half):
            return self.run(images).float()

    @torch.no_grad()
    def measure(self) -> tuple[float, torch.Tensor]:
        """Mean loss, and right predictions of each class."""
        if self.kind == "loader":
            batches: Any = self.test_loader
        else:
            chunk = self.chunk if self.kind == "best" else 1000
            batches = zip(self.test_images.split(chunk), self.test_labels.split(chunk), strict=True)
        self.net.eval()
        loss: Any = 0.0
        right, count = torch.zeros(self.classes, dtype=torch.int64, device=self.device), 0
        for images, labels in batches:
            logits = self.frozen(images).float() if self.kind == "best" else self._logits(images)
            part = F.cross_entropy(logits, labels, reduction="sum")
            loss += part if self.kind == "compiled" else part.item()
            right += torch.bincount(labels[logits.argmax(1) == labels], minlength=self.classes)
            count += len(labels)
        return float(loss) / count, right


def seconds_of(work: Callable[[], object], times: int, device: str = "cpu") -> float:
    """Mean seconds of one call."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - start) / times
