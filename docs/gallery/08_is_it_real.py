"""Is this change real?

The wide band is what other test images could make of the level; the narrow one is for comparing within the run, where
the images are the same.
"""

import everybatch as eb

data = eb.datasets.glyphs(train=9_600, test=1_500)
run = eb.train(eb.networks.lenet5(), data, epochs=1, batch_size=64, record=("predictions",), progress=False)

bands = eb.insight.bands(run)
ax = bands.plot()
ax.figure.savefig("is_it_real.png", dpi=110)
print(bands)
print(bands.change(100, 150))
