"""What a function returns from another process, or a cache keeps: models, runs and evaluations, pickled and copied."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import everybatch as eb
from everybatch.errors import ArgumentError

COPIES: list[Callable[[Any], Any]] = [
    lambda thing: pickle.loads(pickle.dumps(thing)),
    lambda thing: pickle.loads(pickle.dumps(thing, protocol=2)),
    copy.copy,
    copy.deepcopy,
]


@pytest.fixture(scope="module")
def run(tiny: eb.Network, glyphs: eb.Dataset) -> eb.Run:
    return eb.train(tiny, glyphs, steps=3, validation=30, record=["predictions"], progress=False)


@pytest.mark.parametrize("copied", COPIES)
def test_a_model_comes_back_with_all_that_it_predicts_by(
    run: eb.Run, glyphs: eb.Dataset, copied: Callable[[Any], Any]
) -> None:
    model = run.model.copy()
    model.classes, model.background = [f"é{number}" for number in range(10)], (1, 2, 3)
    again = copied(model)
    assert (again.network, again.classes, again.background) == (model.network, model.classes, model.background)
    assert (again.mean, again.std) == (model.mean, model.std)
    np.testing.assert_array_equal(again.logits(glyphs.test_images), model.logits(glyphs.test_images))


@pytest.mark.parametrize("copied", COPIES)
def test_the_copy_of_a_model_has_weights_of_its_own(tiny: eb.Network, copied: Callable[[Any], Any]) -> None:
    model = tiny.initialize(seed=1)
    again = copied(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for tensor in again.state_dict().values():
        tensor.zero_()
    for name, tensor in model.state_dict().items():
        assert (tensor == before[name]).all(), name


def test_a_model_that_was_not_trained_has_no_normalisation_afterwards_either(tiny: eb.Network) -> None:
    again = pickle.loads(pickle.dumps(tiny.initialize(seed=1)))
    assert (again.mean, again.std, again.classes, again.background) == (None, None, None, None)


def test_weights_that_share_memory_with_a_module_are_pickled_as_they_are_then(tiny: eb.Network) -> None:
    module = eb.export.torch_module(tiny.initialize(seed=1), normalize=False)
    model = eb.from_torch(module, (1, 28, 28), share=True)
    content = pickle.dumps(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for tensor in module.state_dict().values():
        tensor.zero_()
    for name, tensor in pickle.loads(content).state_dict().items():
        assert (tensor == before[name]).all(), name


def test_damaged_bytes_of_a_model_are_refused(run: eb.Run) -> None:
    _, (content,) = run.model.__reduce__()
    assert isinstance(content, bytes)
    flipped = bytearray(content)
    flipped[-1] ^= 1
    for damaged in (b"", content[:-1], bytes(flipped), b"weights"):
        with pytest.raises(ArgumentError):
            eb.Model._from_bytes(damaged)  # type: ignore[attr-defined]


@pytest.mark.parametrize("copied", COPIES)
def test_a_run_comes_back_whole(run: eb.Run, glyphs: eb.Dataset, copied: Callable[[Any], Any]) -> None:
    again = copied(run)
    assert again.config == run.config
    assert again._arrays.keys() == run._arrays.keys()
    for name, array in run._arrays.items():
        np.testing.assert_array_equal(again._arrays[name], array, err_msg=name, strict=True)
        assert not again._arrays[name].flags.writeable, name
    np.testing.assert_array_equal(again.model.logits(glyphs.test_images), run.model.logits(glyphs.test_images))
    np.testing.assert_array_equal(again.batch_indices(2), run.batch_indices(2))
    assert repr(again) == repr(run)


class NotedRun(eb.Run):
    """A run whose class takes other arguments."""

    def __init__(self, run: eb.Run) -> None:
        super().__init__(run._arrays, run.config, run.model)


@pytest.mark.parametrize("copied", COPIES)
def test_a_run_keeps_its_class_and_what_was_added_to_it(run: eb.Run, copied: Callable[[Any], Any]) -> None:
    noted = NotedRun(run)
    vars(noted)["note"] = ["x"]
    again = copied(noted)
    assert type(again) is NotedRun
    assert vars(again)["note"] == ["x"]
    assert vars(again).keys() == vars(noted).keys()


def test_what_is_pickled_twice_is_the_same_bytes(run: eb.Run, tiny: eb.Network) -> None:
    ensemble = eb.sweeps.Ensemble([run.model, tiny.initialize(seed=1)])
    for thing in (run, run.model, ensemble, run.model.evaluate(np.zeros((4, 28, 28), np.uint8), np.zeros(4, int))):
        assert len({pickle.dumps(thing) for _ in range(10)}) == 1, thing


def test_the_copy_of_a_loaded_run_reads_nothing(run: eb.Run, tmp_path: Path) -> None:
    run.save(tmp_path / "run")
    loaded = eb.load_run(tmp_path / "run")
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    again = copy.copy(loaded)
    np.testing.assert_array_equal(again.test_loss, run.test_loss)
    with pytest.raises(FileNotFoundError):
        _ = again.model


def test_a_meter_is_not_copied(glyphs: eb.Dataset) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    meter = eb.Meter(module, glyphs)
    for copied in COPIES:
        with pytest.raises(TypeError, match="its run can"):
            copied(meter)


def test_a_run_that_was_loaded_takes_its_weights_along(run: eb.Run, glyphs: eb.Dataset, tmp_path: Path) -> None:
    run.save(tmp_path / "run")
    content = pickle.dumps(eb.load_run(tmp_path / "run"))
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    again = pickle.loads(content)
    np.testing.assert_array_equal(again.model.logits(glyphs.test_images), run.model.logits(glyphs.test_images))


def test_a_run_without_a_model_comes_back_without_one(run: eb.Run) -> None:
    again = pickle.loads(pickle.dumps(eb.Run(run._arrays, run.config)))
    with pytest.raises(AttributeError, match="without a model"):
        _ = again.model


@pytest.mark.parametrize("copied", COPIES)
def test_an_evaluation_comes_back(run: eb.Run, glyphs: eb.Dataset, copied: Callable[[Any], Any]) -> None:
    evaluation = run.model.evaluate(glyphs)
    again = copied(evaluation)
    assert (again.loss, again.accuracy, again.classes) == (evaluation.loss, evaluation.accuracy, evaluation.classes)
    np.testing.assert_array_equal(again.class_accuracy, evaluation.class_accuracy, strict=True)
    np.testing.assert_array_equal(again.confusion, evaluation.confusion, strict=True)


def test_an_ensemble_comes_back(run: eb.Run, tiny: eb.Network, glyphs: eb.Dataset) -> None:
    other = eb.train(tiny, glyphs, steps=2, seed=1, progress=False)
    ensemble = eb.sweeps.Ensemble([run.model, other.model])
    again = pickle.loads(pickle.dumps(ensemble))
    images = glyphs.test_images
    np.testing.assert_array_equal(again.predict_proba(images), ensemble.predict_proba(images))
