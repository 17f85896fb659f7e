"""Which batch did it?

The labels of one batch in the middle are made wrong, on purpose. The ledger has what every batch gave and took;
around each fall the steps are taken once more with a gradient of zero, so that the batch that did it is told from
those that came after.
"""

import numpy as np

import everybatch as eb

BAD = 90  # the step whose batch is spoilt

clean = eb.datasets.glyphs(train=9_600, test=1_000)
settings = {"epochs": 1, "batch_size": 64, "seed": 0, "device": "cpu", "progress": False}
order = eb.train(eb.networks.lenet5(), clean, **settings, evaluate_every="epoch").batch_indices(BAD)
labels = clean.train_labels.copy()
labels[order] = (labels[order] + 1 + np.arange(len(order)) % 9) % 10
data = eb.Dataset(clean.train_images, labels, clean.test_images, clean.test_labels, mean=clean.mean, std=clean.std)

run = eb.train(eb.networks.lenet5(), data, **settings, record=("predictions", "losses", "weights"))
ledger = eb.insight.batches(run, dataset=data)
ledger.plot().savefig("which_batch_did_it.png", dpi=110)
print(ledger)
print(ledger.worst(3).to_string(index=False))
