"""When each image was learned, and lost again.

Rows are the test images that were lost at least once, columns are measurements; dark is wrong. On the right, what
measuring less often would have seen of it.
"""

import everybatch as eb

data = eb.datasets.glyphs(train=9_600, test=1_500)
run = eb.train(eb.networks.lenet5(), data, epochs=1, batch_size=64, record=("predictions", "losses"), progress=False)

learning = eb.insight.learning(run)
learning.plot().savefig("learned_and_forgotten.png", dpi=110)
print(learning)
