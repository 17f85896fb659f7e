"""Search for a learning rate and a dropout rate with Ray Tune and Optuna, around `everybatch.train`.

    pip install "everybatch[ray]" "ray[tune]" optuna
    python examples/ray_tune.py

A sweep trains every config that it is given; here Optuna chooses the next ones by what it has seen, and trials that
stay behind on the validation images are ended early. `--samples`, `--steps` and `--cpus` make it smaller or larger.
"""

import argparse
import tempfile

from ray import init, tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

import everybatch as eb


def train_one(config, data, steps):
    """Train a network, and report its validation accuracy ten times on the way."""
    every = max(1, steps // 10)

    def report(step):
        if step.step % every == 0:
            tune.report({"validation_accuracy": step.validation_accuracy, "steps": step.step})

    eb.train(
        eb.networks.lenet5(dropout=config["dropout"]),
        data,
        steps=steps,
        lr=config["lr"],
        validation=0.2,
        evaluate_every=every,
        callbacks=report,
        progress=False,
    )


def main():
    """Search, and print the best config."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=20, help="trials")
    parser.add_argument("--steps", type=int, default=300, help="of each trial")
    parser.add_argument("--cpus", type=int, help="that Ray may use; by default all")
    given = parser.parse_args()

    init(num_cpus=given.cpus, include_dashboard=False)
    data = eb.datasets.glyphs(train=2000, test=500)
    tuner = tune.Tuner(
        tune.with_parameters(train_one, data=data, steps=given.steps),
        param_space={"lr": tune.loguniform(1e-4, 1e-1), "dropout": tune.uniform(0.0, 0.6)},
        tune_config=tune.TuneConfig(
            metric="validation_accuracy",
            mode="max",
            num_samples=given.samples,
            search_alg=OptunaSearch(seed=0),
            scheduler=ASHAScheduler(time_attr="steps", max_t=given.steps, grace_period=max(1, given.steps // 10)),
        ),
        run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
    )
    best = tuner.fit().get_best_result()
    print(f"best of {given.samples}: {best.config}, validation accuracy {best.metrics['validation_accuracy']:.1%}")


if __name__ == "__main__":
    main()
