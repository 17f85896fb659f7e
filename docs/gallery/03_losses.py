"""Losses and accuracies.

Of every training batch, thin, with a running median or mean; of the test images after it; and of images that were
held out of the training set.
"""

import matplotlib.pyplot as plt

import everybatch as eb

data = eb.datasets.glyphs(train=9_600, test=1_000)
run = eb.train(eb.networks.lenet5(), data, steps=200, batch_size=64, validation=0.1, progress=False)

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
eb.plots.losses(run, ax=left)
eb.plots.accuracy(run, ax=right)
fig.savefig("losses.png", dpi=110)
