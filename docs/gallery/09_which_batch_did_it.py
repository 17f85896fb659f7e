"""Which batch did it?

The labels of one batch are made wrong, on purpose. With Adam the accuracy falls over several steps, and the deepest
fall comes after the batch that did it. Around each fall the ledger takes the steps once more with a gradient of
zero: the difference is the effect of that batch alone.
"""

import everybatch as eb

BAD = 150  # the step whose batch is spoilt

clean = eb.datasets.glyphs(train=12_800, test=1_000)
settings = {"epochs": 1, "batch_size": 64, "lr": 3e-3, "device": "cpu", "progress": False}
batch = eb.train(eb.networks.lenet5(), clean, **settings, evaluate_every="epoch").batch_indices(BAD)
labels = clean.train_labels.copy()
labels[batch] = 9 - labels[batch]
data = eb.Dataset(clean.train_images, labels, clean.test_images, clean.test_labels, mean=clean.mean, std=clean.std)

run = eb.train(eb.networks.lenet5(), data, **settings, record=("predictions", "losses", "weights"))
ledger = eb.insight.batches(run, dataset=data)
ledger.plot().savefig("which_batch_did_it.png", dpi=110)
print(ledger)
print(ledger.worst(3)[["step", "gained", "lost", "loss_change", "effect"]].to_string(index=False))
