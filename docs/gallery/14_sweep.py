"""A sweep.

Four settings with three seeds each: the mean of every setting with its range over the seeds, and every trial as a
line from its settings to its result.
"""

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

sweep.plot("bands").figure.savefig("sweep.png", dpi=110)
sweep.plot("parallel").figure.savefig("sweep_parallel.png", dpi=110)
