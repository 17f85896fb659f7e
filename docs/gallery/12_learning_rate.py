"""Which learning rate?

The learning-rate range test: the rate rises from step to step, and the loss tells where learning is fastest.
"""

import everybatch as eb

data = eb.datasets.glyphs(train=6_400, test=500)
found = eb.find_lr(eb.networks.lenet5(), data)

ax = found.plot()
ax.figure.savefig("learning_rate.png", dpi=120)
print(found)
