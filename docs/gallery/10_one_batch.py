"""One step, taken apart.

The change of the test loss by one step, split over the images of its batch: the same step once more, without each of
them in turn. Nothing here is estimated.
"""

import numpy as np

import everybatch as eb

data = eb.datasets.glyphs(train=6_400, test=1_000)
run = eb.train(eb.networks.lenet5(), data, steps=100, record=("weights",), device="cpu", progress=False)

step = 20 + int(np.argmin(np.diff(run.test_accuracy)[20:]))  # the one that cost the most after the first twenty
apart = eb.insight.replay(run, step, without="each")
apart.plot().figure.savefig("one_batch.png", dpi=110)
print(apart)
