"""Labels that are wrong.

Sixty labels of 6,400 are made wrong, on purpose, and one training finds them: below each image are its label, what it
should be, and the votes through time.
"""

import numpy as np

import everybatch as eb

clean = eb.datasets.glyphs(train=6_400, test=500)
data, planted = eb.insight.plant_label_errors(clean, 60, seed=0)
run = eb.train(
    eb.networks.lenet5(), data, epochs=2, record=("examples",), evaluate_every="epoch", device="cpu", progress=False
)

errors = eb.insight.label_errors(run, dataset=data)
errors.plot(18).figure.savefig("label_errors.png", dpi=110)
print(errors)
print(f"{np.isin(errors.indices[:60], planted).sum()} of the 60 are among the 60 most suspicious")
