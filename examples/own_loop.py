"""A training loop of one's own in PyTorch, measured after every step by `eb.Meter`.

python examples/own_loop.py            # the built-in digits
python examples/own_loop.py mnist      # any data set of everybatch.datasets
"""

import sys

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

import everybatch as eb


class Net(nn.Module):
    """A network as one writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(16), nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 7 * 7, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, 28, 28) to logits (N, 10)."""
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        return self.fc(x.flatten(1))


def main(name: str = "glyphs", train: int = 6_000, test: int = 2_000, folder: str | None = None) -> eb.Run:
    """Train for an epoch."""
    data = getattr(eb.datasets, name)().subset(train=train, test=test)
    # What the network is trained on: pixels in [0, 1], less the mean and by the deviation of the data set, which is
    # what a meter gives it unless told otherwise (inputs=).
    images = torch.tensor(data.train_images)[:, None].float().div(255).sub(data.mean[0]).div(data.std[0])
    loader = DataLoader(TensorDataset(images, torch.tensor(data.train_labels)), batch_size=64, shuffle=True)
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(loader))
    with eb.Meter(net, data, steps_per_epoch=len(loader), steps=len(loader), folder=folder) as meter:
        for batch, labels in loader:
            loss = F.cross_entropy(net(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meter.step(loss, lr=schedule.get_last_lr())
            schedule.step()
            if meter.steps % 20 == 0:
                print(f"step {meter.steps:>4}: loss {loss.item():.3f}, test accuracy {meter.test_accuracy:.2%}")
    print(meter.run)
    return meter.run


if __name__ == "__main__":
    eb.plots.losses(main(*sys.argv[1:2]), save="own_loop.png")
