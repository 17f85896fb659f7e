"""What is taken for what.

The confusion matrix at the last measurement; only errors have colours. `eb.insight.confusion_film` has one for every
measurement, and a page with a slider over them.
"""

import everybatch as eb

data = eb.datasets.glyphs(train=3_200, test=2_000)
run = eb.train(eb.networks.lenet5(), data, steps=50, progress=False)

ax = eb.plots.confusion(run)
ax.figure.savefig("confusion.png", dpi=110)
