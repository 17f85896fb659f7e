"""What training sees.

Each image of each batch is changed anew, by numbers that come from the run's seed. The first row is as it was.
"""

import matplotlib.pyplot as plt

import everybatch as eb

data = eb.datasets.glyphs(train=100, test=10)
augment = eb.Augment(shift=2, rotate=15, scale=0.15, shear=8, elastic=2.0, erase=0.3)

images = data.train_images[:12]
fig, axes = plt.subplots(5, 12, figsize=(10, 4.3), layout="constrained")
for row, line in enumerate(axes):
    seen = images if row == 0 else augment(images, seed=0, step=row)
    for ax, image in zip(line, seen, strict=True):
        ax.imshow(image, cmap="gray_r")
        ax.axis("off")
fig.savefig("augment.png", dpi=110)
