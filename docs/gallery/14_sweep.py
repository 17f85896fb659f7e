"""A sweep.

Four settings with three seeds each: the mean of every setting with its range over the seeds, and every trial as a
line from its settings to its result.
"""

import matplotlib.pyplot as plt

import everybatch as eb

data = eb.datasets.glyphs(train=3_200, test=500)
sweep = eb.sweep(
    {"lr": [3e-4, 3e-3], "network.dropout": [0.0, 0.5]},
    data,
    seeds=3,
    network="lenet5",
    steps=60,
    evaluate_every=5,
    validation=0.1,
    backend="serial",
    store="sweep",
    device="cpu",
    progress=False,
)

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained", width_ratios=(3, 2))
sweep.plot("bands", ax=left)
sweep.plot("parallel", ax=right)
fig.savefig("sweep.png", dpi=110)
