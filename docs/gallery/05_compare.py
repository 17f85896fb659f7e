"""Three optimizers.

Several runs over one another: a smoothed line each, every measurement thin behind it, and the last value (not the
best) at its end.
"""

import everybatch as eb

data = eb.datasets.glyphs(train=6_400, test=1_000)
network = eb.networks.lenet5()
settings = {"steps": 150, "progress": False}
runs = {
    "Adam, 0.001": eb.train(network, data, optimizer="adam", lr=1e-3, **settings),
    "SGD, 0.05": eb.train(network, data, optimizer="sgd", lr=0.05, **settings),
    "momentum 0.9, 0.01": eb.train(network, data, optimizer="sgd", lr=0.01, momentum=0.9, **settings),
}

ax = eb.plots.compare(runs, metric="test_loss")
ax.figure.savefig("compare.png", dpi=120)
