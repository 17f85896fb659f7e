"""Nearly free: estimates, with error bars.

The same training twice. Once all 4,000 test images are measured after every batch, once a tolerance of a quarter of a
point allows to look at some of them. The band is two standard errors; the black line is the truth, which the
estimates do not know.
"""

import matplotlib.pyplot as plt
import numpy as np

import everybatch as eb

data = eb.datasets.glyphs(train=9_600, test=4_000)
settings = {"epochs": 1, "batch_size": 64, "device": "cpu", "progress": False}
exact = eb.train(eb.networks.lenet5(), data, **settings)
quick = eb.train(eb.networks.lenet5(), data, **settings, tolerance=0.0025)

true, found, error = (100 * each for each in (exact.test_accuracy, quick.test_accuracy, quick.test_accuracy_error))
fig, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for ax, part in zip(axes, (slice(0, None), slice(90, None)), strict=True):
    steps = quick.eval_step[part]
    low, high = (found - 2 * error)[part], (found + 2 * error)[part]
    ax.fill_between(steps, low, high, color="#0072B2", alpha=0.25, linewidth=0, label="± 2 standard errors")
    ax.plot(steps, true[part], color="0.15", linewidth=2, label="all images")
    ax.plot(steps, found[part], ".-", color="#0072B2", linewidth=0.8, markersize=3, label="estimate")
    ax.set(xlabel="batch", ylabel="test accuracy in %")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(loc="lower right", frameon=False)
fig.savefig("nearly_free.png", dpi=110)

estimated = quick.images_measured < len(quick.test_indices)
within = np.abs(found - true)[estimated] <= 2 * error[estimated]
print(f"{quick.images_measured.mean():,.0f} of {len(quick.test_indices):,} images looked at, on average")
print(f"{within.mean():.0%} of the estimates within two standard errors of the truth")
