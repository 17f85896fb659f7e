"""Every class, after every batch.

The accuracy of each digit on all test images, measured after each of 150 batches. A line that falls while another
rises is a network that has begun to take one for the other.
"""

import everybatch as eb

data = eb.datasets.glyphs(train=9_600, test=2_000)
run = eb.train(eb.networks.lenet5(), data, epochs=1, batch_size=64, progress=False)

ax = eb.plots.class_accuracy(run)
ax.figure.savefig("every_batch.png", dpi=120)
print(f"{run.final_accuracy:.2%} after the last batch; {run.best_accuracy:.2%} at best, which flatters")
