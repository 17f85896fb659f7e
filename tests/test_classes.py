"""Classes of a model and of a data set: matched by name wherever a model meets data that it was not trained on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everybatch as eb
from everybatch._beginning import reordered
from everybatch._classes import matched
from everybatch.errors import ArgumentError, DataError
from everybatch.sweeps import Ensemble

NAMES = ("ant", "bee", "cow", "dog")


def pictures(names: Any, *, classes: Any = ..., count: int = 24, seed: int = 0, **more: Any) -> eb.Dataset:
    """Noise whose brightness tells the class; `names` are taken in turn, `classes` is their order."""
    rng = np.random.default_rng(seed)
    order = sorted(set(names)) if classes is ... else list(classes)
    given = [names[i % len(names)] for i in range(count)]
    bright = np.array([40 + 55 * NAMES.index(name) for name in given])
    images = np.clip(bright[:, None, None] + rng.normal(0, 20, (count, 6, 6)), 0, 255).astype(np.uint8)
    labels = np.array([order.index(name) for name in given])
    return eb.Dataset(images, labels, images, labels, classes=order, mean=0.5, std=0.3, **{"name": "zoo"} | more)


@pytest.fixture(scope="module")
def network() -> eb.Network:
    layers = [eb.Conv2d(1, 4, 3), eb.Activation("relu"), eb.GlobalAvgPool(), eb.Linear(4, 4), eb.Dropout(0.1)]
    return eb.Network(layers, (1, 6, 6), name="small")


@pytest.fixture(scope="module")
def run(network: eb.Network) -> eb.Run:
    return eb.train(network, pictures(NAMES), epochs=30, batch_size=8, lr=0.05, progress=False, device="cpu")


@pytest.fixture
def model(run: eb.Run) -> eb.Model:
    return run.model.copy()


def arrays(data: eb.Dataset) -> tuple[Any, ...]:
    return data.train_images, data.train_labels, data.test_images, data.test_labels


def accuracy(model: eb.Model, data: eb.Dataset) -> float:
    """By names alone, with NumPy."""
    predicted = np.array(model.classes)[model.predict(data.test_images)]
    return float(np.mean(predicted == np.array(data.classes)[data.test_labels]))


# ---- Model.evaluate ------------------------------------------------------------------------------


def test_the_order_of_the_names_does_not_matter(model: eb.Model) -> None:
    straight, turned = pictures(NAMES, seed=1), pictures(NAMES, classes=NAMES[::-1], seed=1)
    expected, found = model.evaluate(straight), model.evaluate(turned)
    assert expected.accuracy > 0.6
    assert found.accuracy == expected.accuracy == accuracy(model, turned)
    assert (found.loss, found.classes) == (expected.loss, NAMES)
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    np.testing.assert_array_equal(found.class_accuracy, expected.class_accuracy)


@pytest.mark.parametrize("seed", range(8))
def test_against_numpy_on_the_names(model: eb.Model, seed: int) -> None:
    # Data sets with some of the classes in any order. scikit-learn's accuracy_score, confusion_matrix and recall_score
    # on the names, with labels=NAMES, are these sums.
    rng = np.random.default_rng(seed)
    names = rng.permutation(NAMES)[: rng.integers(2, 5)].tolist()
    data = pictures(names, classes=names, seed=seed)
    measured = model.evaluate(data)
    truth = np.array(names)[data.test_labels]
    predicted = np.array(NAMES)[model.predict(data.test_images)]
    confusion = [[np.sum((truth == one) & (predicted == other)) for other in NAMES] for one in NAMES]
    np.testing.assert_array_equal(measured.confusion, confusion)
    assert measured.accuracy == pytest.approx(np.mean(truth == predicted), abs=1e-12)
    recall = [np.mean(predicted[truth == name] == name) if (truth == name).any() else np.nan for name in NAMES]
    np.testing.assert_allclose(measured.class_accuracy, recall, rtol=1e-6)


def test_a_class_that_the_data_lack_is_nan_and_one_that_the_model_lacks_is_refused(network: eb.Network) -> None:
    three = eb.Network([*network.layers[:3], eb.Linear(4, 3)], (1, 6, 6))
    model = eb.train(three, pictures(NAMES[:3]), batch_size=8, progress=False, device="cpu").model
    measured = model.evaluate(pictures(NAMES[1:3]))
    assert np.isnan(measured.class_accuracy).tolist() == [True, False, False]
    assert measured.accuracy == accuracy(model, pictures(NAMES[1:3]))
    with pytest.raises(ArgumentError, match=r"no class 'dog', of which data set 'zoo' has 8 images.*'ant', 'bee'"):
        model.evaluate(pictures(NAMES[1:]))
    # A name without a single image does no harm.
    assert model.evaluate(pictures(NAMES[1:3], classes=NAMES[1:])).accuracy == measured.accuracy


def test_names_that_differ_altogether_need_a_word(model: eb.Model) -> None:
    same = pictures(NAMES)
    french = eb.Dataset(*arrays(same), classes=["fourmi", "abeille", "vache", "chien"])
    with pytest.raises(ArgumentError, match=r"no class in common.*'ant'.*'fourmi'.*match_classes='position'"):
        model.evaluate(french)
    assert model.evaluate(french, match_classes="position").accuracy == model.evaluate(same).accuracy
    assert model.evaluate(french, match_classes="position").classes == NAMES
    with pytest.raises(ArgumentError, match="'place': choose 'name' or 'position'"):
        model.evaluate(same, match_classes="place")
    with pytest.raises(TypeError, match="match_classes"):
        model.evaluate(same, match_classes=3)  # type: ignore[arg-type]


def test_labels_may_be_names(model: eb.Model) -> None:
    data = pictures(NAMES, seed=2)
    texts = np.array(NAMES)[data.test_labels]
    expected = model.evaluate(data).accuracy
    for labels in (texts, texts.tolist(), texts.astype(object), data.test_labels):
        measured = model.evaluate(data.test_images, labels)
        assert (measured.accuracy, measured.classes) == (expected, NAMES)
    with pytest.raises(DataError, match=r"no class 'bea'.*Did you mean 'bee'"):
        model.evaluate(data.test_images[:2], ["ant", "bea"])
    model.classes = None
    with pytest.raises(DataError, match="does not know those of its classes"):
        model.evaluate(data.test_images, texts)


# ---- the rule itself: (model's names, data's names, expected numbers or a message) ------------------

DIGITS = tuple("0123456789")
RULE: list[tuple[Any, tuple[str, ...], Any]] = [
    (("a", "b", "c"), ("c", "a", "b"), [2, 0, 1]),
    (("a", "b", "c"), ("c", "b"), [2, 1]),
    (("a", "b", "c"), ("a", "b", "x"), "no class 'x'"),
    (("a", "b", "c"), ("A", "b"), "no class 'A'.*Did you mean 'a'"),
    (("a", "b"), ("x", "y"), "no class in common"),
    # Without names: the number is all there is.
    (None, ("x", "y", "z"), [0, 1, 2]),
    (("0", "1", "2"), ("x", "y", "z"), [0, 1, 2]),
    (("x", "y", "z"), ("0", "1", "2"), [0, 1, 2]),
    (("x", "y", "z"), ("0", "1"), [0, 1]),  # the labels went no further
    (("x", "y"), ("0", "1", "2"), "class 2"),
    (("0", "1", "2"), ("x", "y"), "3 classes apart and has no names.*names 2"),
    (None, ("x", "y"), "has no names"),
    # Digits are names too.
    (DIGITS, ("3", "7"), [3, 7]),
    (DIGITS, ("0", "1", "2"), [0, 1, 2]),
    (DIGITS, tuple(str(i) for i in range(11)), "no class '10'"),
    (DIGITS, ("3", "x"), "no class 'x'"),
    # Folders of numbers are in the order of text: "2" is the third or the fourth class.
    (("0", "1", "10", "2"), ("0", "1", "2"), "may be the model's class called '2'"),
    (("0", "1", "10", "2"), ("0", "1"), [0, 1]),
    # é as one letter and as e with an accent.
    (("caf\u00e9", "the"), ("the", "cafe\u0301"), [1, 0]),
]


@pytest.mark.parametrize(("own", "theirs", "expected"), RULE)
def test_the_rule(own: tuple[str, ...] | None, theirs: tuple[str, ...], expected: Any) -> None:
    count, labels = 3 if own is None else len(own), np.arange(len(theirs))
    if isinstance(expected, str):
        with pytest.raises(ArgumentError, match=expected):
            matched(own, count, theirs, labels)
    else:
        assert matched(own, count, theirs, labels).numbers.tolist() == expected


def test_that_names_are_missing_is_said_once(model: eb.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = pictures(NAMES)
    model.classes = None
    for step in range(3):
        model.save(tmp_path / f"step_{step:06}.safetensors")
    with caplog.at_level(logging.WARNING, "everybatch"):
        table = eb.evaluate_checkpoints(tmp_path, data)
    assert [record.getMessage() for record in caplog.records] == [
        "the model has no names for its classes: they are matched by position"
    ]
    assert all(measured.classes == NAMES for measured in table.values())


def test_permutations_of_any_names_are_found() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        names = [f"class {i}" for i in rng.permutation(40)[: rng.integers(2, 30)]]
        order = rng.permutation(len(names))
        theirs = [names[i] for i in order][: rng.integers(2, len(names) + 1)]
        found = matched(names, len(names), theirs, np.arange(len(theirs)))
        assert [names[i] for i in found.numbers] == theirs


# ---- other ways in ---------------------------------------------------------------------------------


def test_kept_weights(network: eb.Network, tmp_path: Path) -> None:
    data, turned = pictures(NAMES), pictures(NAMES, classes=NAMES[::-1])
    eb.train(network, data, epochs=2, batch_size=8, progress=False, device="cpu", checkpoints=tmp_path)
    expected, found = eb.evaluate_checkpoints(tmp_path, data), eb.evaluate_checkpoints(tmp_path, turned)
    for step, measured in expected.items():
        assert (found[step].loss, found[step].accuracy) == (measured.loss, measured.accuracy)
        assert eb.Model.load(tmp_path / f"step_{step:06}.safetensors").classes == NAMES
    some = eb.evaluate_checkpoints(tmp_path, turned, indices=np.arange(5))
    assert {int(measured.confusion.sum()) for measured in some.values()} == {5}
    with pytest.raises(ArgumentError, match="no class 'fox'"):
        eb.evaluate_checkpoints(tmp_path, eb.Dataset(*arrays(data), classes=("ant", "bee", "cow", "fox")))


def test_training_goes_on_with_the_data_sets_order(model: eb.Model) -> None:
    turned = pictures(NAMES, classes=NAMES[::-1])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run = eb.train(model, turned, steps=1, lr=0.0, batch_size=8, progress=False, device="cpu")
    # Nothing is learnt at a rate of 0: the accuracies are those of the given model, by name.
    expected = model.evaluate(turned)
    assert run.test_accuracy[0] == np.float32(expected.accuracy)
    assert run.classes == run.model.classes == NAMES[::-1]
    np.testing.assert_array_equal(run.class_accuracy[-1], expected.class_accuracy[::-1])
    np.testing.assert_array_equal(
        np.array(run.model.classes)[run.model.predict(turned.test_images)],
        np.array(NAMES)[model.predict(turned.test_images)],
    )
    assert model.classes == NAMES
    assert all((tensor == before[name]).all() for name, tensor in model.state_dict().items())


def test_training_does_not_go_on_with_other_classes(model: eb.Model) -> None:
    data = pictures(NAMES)
    for names in (("fox", "gnu", "hen", "imp"), ("ant", "bee", "cow", "hen")):
        other = eb.Dataset(*arrays(data), classes=names)
        with pytest.raises(ArgumentError, match=r"'hen'.*whose classes are set to None"):
            eb.train(model, other, batch_size=8, progress=False, device="cpu")
        renamed = model.copy()
        renamed.classes = None
        assert eb.train(renamed, other, batch_size=8, progress=False, device="cpu").model.classes == names
    nameless = eb.train(model, eb.Dataset(*arrays(data)), batch_size=8, progress=False, device="cpu")
    assert nameless.model.classes == NAMES  # what is known stays known


ENDS: dict[str, list[eb.Layer]] = {
    "linear": [eb.Flatten(), eb.Linear(36, 4)],
    "without a bias": [eb.Flatten(), eb.Linear(36, 4, bias=False)],
    "convolution": [eb.Conv2d(1, 4, 3), eb.Activation("relu"), eb.GlobalMaxPool()],
    "to one pixel": [eb.Conv2d(1, 4, 6, bias=False), eb.BatchNorm2d(4), eb.Dropout2d(0.2), eb.Flatten()],
    "normalised": [eb.Flatten(), eb.Linear(36, 4), eb.BatchNorm1d(4), eb.Activation("tanh"), eb.Dropout(0.3)],
    "block": [eb.Flatten(), eb.Linear(36, 4), eb.Residual([eb.Linear(4, 4)])],
    "gate": [eb.Conv2d(1, 4, 3), eb.SqueezeExcitation(4, 2), eb.GlobalAvgPool()],
    "groups": [eb.Conv2d(1, 2, 3), eb.Conv2d(2, 4, 3, groups=2), eb.GlobalAvgPool()],
    "many pixels": [eb.Conv2d(1, 1, 5), eb.Flatten()],
}


@pytest.mark.filterwarnings("ignore::everybatch.errors.LogitsWarning")  # some end in an activation
@pytest.mark.parametrize("end", ENDS)
def test_logits_in_another_order(end: str) -> None:
    # NumPy's indexing of the logits says what the changed weights must give.
    data, order = pictures(NAMES), np.array([2, 0, 3, 1])
    model = eb.train(eb.Network(ENDS[end], (1, 6, 6)), data, batch_size=8, progress=False, device="cpu").model
    if end in ("block", "gate", "groups", "many pixels"):
        with pytest.raises(ArgumentError, match=r"another order.*classes=model\.classes"):
            reordered(model, order)
        return
    expected = model.logits(data.test_images)[:, order]
    np.testing.assert_allclose(reordered(model, order).logits(data.test_images), expected, rtol=1e-5, atol=1e-6)


def test_an_ensemble_averages_what_belongs_together(network: eb.Network, model: eb.Model) -> None:
    turned = pictures(NAMES, classes=NAMES[::-1])
    other = eb.train(network, turned, epochs=20, lr=0.05, batch_size=8, progress=False, device="cpu", seed=1).model
    both = Ensemble([model, other])
    images = turned.test_images
    mean = (model.predict_proba(images).astype(float) + other.predict_proba(images)[:, ::-1]) / 2
    np.testing.assert_allclose(both.predict_proba(images), mean, rtol=1e-6)
    assert both.classes == NAMES
    truth = np.array(turned.classes)[turned.test_labels]
    expected = np.mean(np.array(NAMES)[mean.argmax(axis=1)] == truth)
    assert both.accuracy(turned) == both.accuracy(images, truth) == expected
    assert Ensemble([other, model]).accuracy(turned) == expected
    other.classes = ["ant", "bee", "cow", "hen"]
    with pytest.raises(ArgumentError, match="no class 'dog'"):
        Ensemble([model, other])


# ---- names of a model ------------------------------------------------------------------------------


def test_names_can_be_given(network: eb.Network) -> None:
    model = network.initialize(0)
    assert (model.classes, model.input_shape) == (None, (1, 6, 6))
    model.classes = list(NAMES)
    assert model.copy().classes == NAMES
    for wrong, error, match in (
        (["a", "b"], ArgumentError, "2 names.*4 logits"),
        (["a", "b", "c", "a"], ArgumentError, 'two classes are called "a"'),
        (["a", "b", "c", "\ud800"], ArgumentError, r"\\ud800.*no file can hold"),
        (["a", "b", "c", 4], TypeError, "4 is not text"),
        ("abcd", TypeError, "not str"),
        ({"a", "b", "c", "d"}, TypeError, "not set"),
        (3, TypeError, "not int"),
    ):
        with pytest.raises(error, match=match):
            model.classes = wrong  # type: ignore[assignment]
    assert model.classes == NAMES


def test_files_and_runs_keep_them(run: eb.Run, tmp_path: Path) -> None:
    assert run.model.classes == NAMES
    run.model.save(tmp_path / "model.safetensors")
    back = eb.Model.load(tmp_path / "model.safetensors")
    assert (back.classes, back.input_shape, back.mean, back.std) == (NAMES, (1, 6, 6), [0.5], [0.3])
    seen = []
    eb.train(
        run.model, pictures(NAMES), steps=1, batch_size=8, progress=False, callbacks=lambda s: seen.append(s.model())
    )
    assert seen[0].classes == NAMES


def test_a_run_of_an_earlier_version_names_its_model(run: eb.Run, tmp_path: Path) -> None:
    # Its model file has no names, as all files had before there were any.
    nameless = eb.Run(run._arrays, run.config, run.model.copy())
    nameless.model.classes = None
    nameless.save(tmp_path / "run")
    assert eb.Model.load(tmp_path / "run" / "model.safetensors").classes is None
    assert eb.load_run(tmp_path / "run").model.classes == NAMES
