"""Models: predictions, the state dict that shares memory, files."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import everybatch as eb
import reference
from everybatch.errors import ArgumentError, DataError, FileFormatError, ShapeError


@pytest.fixture
def model(tiny: eb.Network, glyphs: eb.Dataset) -> eb.Model:
    return tiny.initialize(seed=2, mean=glyphs.mean, std=glyphs.std)


# ---- predictions ---------------------------------------------------------------------------------


def test_types_and_shapes(model: eb.Model, glyphs: eb.Dataset) -> None:
    images = glyphs.test_images
    logits, shares, classes = model.logits(images), model.predict_proba(images), model.predict(images)
    assert (logits.shape, logits.dtype) == ((60, 10), np.float32)
    assert (shares.shape, shares.dtype) == ((60, 10), np.float32)
    assert (classes.shape, classes.dtype) == ((60,), np.int64)
    np.testing.assert_array_equal(classes, logits.argmax(axis=1))
    exponentials = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(shares, exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-5)


def test_images_may_be_tensors_lists_and_floats(model: eb.Model, glyphs: eb.Dataset) -> None:
    images = glyphs.test_images[:5]
    expected = model.logits(images)
    for same in (
        torch.tensor(images),
        images[..., np.newaxis],
        images.tolist(),
        images.astype(np.int64),
        images / 255.0,  # floats are in [0, 1]
        np.asfortranarray(images),
    ):
        np.testing.assert_array_equal(model.logits(same), expected)


def test_any_number_of_images(model: eb.Model) -> None:
    images = eb.datasets.glyphs(train=1, test=600, seed=9).test_images
    whole = model.logits(images)
    for count in (1, 2, 249, 250, 251, 500):
        np.testing.assert_allclose(model.logits(images[:count]), whole[:count], rtol=1e-4, atol=1e-5)


def test_evaluate_agrees_with_numpy(model: eb.Model, glyphs: eb.Dataset) -> None:
    images, labels = glyphs.test_images, glyphs.test_labels
    measured = model.evaluate(glyphs)
    logits, classes = model.logits(images).astype(np.float64), model.predict(images)
    # Mean cross-entropy: log of the sum of exponentials, less the label's logit.
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    assert measured.loss == pytest.approx(losses.mean(), rel=1e-6)
    assert measured.accuracy == np.mean(classes == labels)
    confusion = np.zeros((10, 10), np.int64)
    np.add.at(confusion, (labels, classes), 1)
    np.testing.assert_array_equal(measured.confusion, confusion)
    np.testing.assert_array_equal(
        measured.class_accuracy, (confusion.diagonal() / confusion.sum(axis=1)).astype(np.float32)
    )
    same = model.evaluate(images, labels)
    assert (same.loss, same.accuracy) == (measured.loss, measured.accuracy)
    assert "accuracy" in repr(measured)


def test_a_class_without_images_has_no_accuracy(model: eb.Model, glyphs: eb.Dataset) -> None:
    ones = glyphs.test_labels == 1
    measured = model.evaluate(glyphs.test_images[ones], glyphs.test_labels[ones])
    assert np.isnan(measured.class_accuracy).tolist() == [label != 1 for label in range(10)]
    assert measured.class_accuracy[1] == pytest.approx(measured.accuracy)


def test_without_normalisation_pixels_are_in_0_to_1(tiny: eb.Network, glyphs: eb.Dataset) -> None:
    plain, told = tiny.initialize(0), tiny.initialize(0, mean=[0.0], std=[1.0])
    assert (plain.mean, plain.std) == (None, None)
    assert (told.mean, told.std) == ([0.0], [1.0])
    np.testing.assert_array_equal(plain.logits(glyphs.test_images), told.logits(glyphs.test_images))


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (np.zeros((2, 28, 28, 3), np.uint8), ShapeError, r"2 pictures of \(3, 28, 28\).*turn them grey"),
        (np.zeros((2, 4, 28), np.uint8), ShapeError, r"\(1, 4, 28\).*takes \(1, 28, 28\): resize"),
        (np.zeros((28, 29), np.uint8), ShapeError, r"\(28, 29\)"),
        (np.zeros((0, 28, 28), np.uint8), DataError, "empty"),
        (np.full((2, 28, 28), np.nan), DataError, "NaN"),
        (np.full((2, 28, 28), 300), DataError, "300"),
        (np.full((2, 28, 28), "a"), TypeError, "numbers"),
        (None, TypeError, "numbers"),
    ],
)
def test_images_that_do_not_fit(model: eb.Model, images: Any, error: type[Exception], match: str) -> None:
    for method in (model.predict, model.predict_proba, model.logits):
        with pytest.raises(error, match=match):
            method(images)


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        ([0], DataError, "2 images and 1 label"),
        ([0, 10], DataError, "label 10 of image 1"),
        ([0, -1], DataError, "-1"),
        (None, TypeError, "labels"),
        (["a", "b"], DataError, "does not know"),
    ],
)
def test_labels_that_do_not_fit(model: eb.Model, labels: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        model.evaluate(np.zeros((2, 28, 28), np.uint8), labels)


# ---- the state dict ------------------------------------------------------------------------------


def test_names_and_types_are_pytorchs() -> None:
    for network, module in (
        (eb.networks.lenet5(), reference.lenet5()),
        (eb.networks.resnet(stages=(4, 8)), reference.resnet((4, 8))),
    ):
        state, expected = network.initialize(0).state_dict(), module.state_dict()
        assert list(state) == list(expected)
        for name, tensor in state.items():
            assert tensor.shape == expected[name].shape, name
            assert tensor.dtype == expected[name].dtype, name
            assert not tensor.requires_grad, name
        module.load_state_dict(state)


def test_it_shares_memory_with_the_model(model: eb.Model, glyphs: eb.Dataset) -> None:
    before = model.logits(glyphs.test_images)
    model.state_dict()["5.bias"][3] += 100.0
    after = model.logits(glyphs.test_images)
    np.testing.assert_allclose(after[:, 3], before[:, 3] + 100, rtol=1e-5)
    np.testing.assert_array_equal(np.delete(after, 3, axis=1), np.delete(before, 3, axis=1))
    assert (model.predict(glyphs.test_images) == 3).all()


def test_tensors_outlive_the_model(tiny: eb.Network) -> None:
    state = tiny.initialize(0).state_dict()
    assert torch.equal(state["0.weight"], tiny.initialize(0).state_dict()["0.weight"])


def test_a_copy_has_weights_of_its_own(model: eb.Model) -> None:
    copied = model.copy()
    model.state_dict()["5.bias"].zero_()
    assert copied.state_dict()["5.bias"].abs().max() > 0
    assert (copied.network, copied.mean, copied.std) == (model.network, model.mean, model.std)


def test_load_state_dict_copies_values(model: eb.Model, tiny: eb.Network, glyphs: eb.Dataset) -> None:
    other = tiny.initialize(seed=3, mean=glyphs.mean, std=glyphs.std)
    model.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(model.logits(glyphs.test_images), other.logits(glyphs.test_images))
    other.state_dict()["5.bias"].fill_(7)
    assert not (model.state_dict()["5.bias"] == 7).any()


def test_pytorchs_own_state_dict_fits(glyphs: eb.Dataset) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = reference.lenet5().eval()
    model = eb.networks.lenet5().initialize(0, mean=glyphs.mean, std=glyphs.std)
    model.load_state_dict(module.state_dict())
    with torch.no_grad():
        expected = module(reference.pixels(glyphs.test_images, glyphs.mean, glyphs.std)).numpy()
    np.testing.assert_allclose(model.logits(glyphs.test_images), expected, rtol=1e-4, atol=1e-5)
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, module.state_dict()[name]), name
    model.load_state_dict(dict(module.named_parameters()) | dict(module.named_buffers()))  # that need gradients, too


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda state: state.pop("5.bias"), ArgumentError, r"tiny.*Missing: 5\.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), ArgumentError, "Unexpected: extra"),
        (lambda state: state.update({"5.bias": torch.zeros(11)}), ShapeError, r"5\.bias.*\(11,\).*\(10,\)"),
        (lambda state: state.update({"5.bias": torch.zeros(10, 1)}), ShapeError, r"\(10, 1\)"),
        (lambda state: state.update({"5.bias": np.zeros(10)}), TypeError, r"5\.bias.*ndarray"),
        (lambda state: state.update({3: torch.zeros(1)}), TypeError, "state dict"),
        (lambda state: state.clear(), ArgumentError, "Missing"),
        (lambda state: state.update({"5.bias": torch.zeros(10, device="meta")}), Exception, "meta"),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(
    model: eb.Model, change: Any, error: type[Exception], match: str
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = {name: torch.ones_like(tensor) for name, tensor in before.items()}
    change(given)
    with pytest.raises(error, match=match):
        model.load_state_dict(given)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def freed(tensor: torch.Tensor) -> torch.Tensor:
    tensor.untyped_storage().resize_(0)
    return tensor


def faked(tensor: torch.Tensor) -> torch.Tensor:
    with FakeTensorMode():
        return torch.ones(tensor.shape)


def mapped(tensor: torch.Tensor) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    torch.vmap(lambda row: kept.append(row) or row)(tensor.expand(2, *tensor.shape))
    return kept[0]


# Tensors whose numbers PyTorch does not keep in memory as plain ones; what to call instead is PyTorch's.
@pytest.mark.parametrize(
    ("odd", "match"),
    [
        (freed, "0.weight has lost its memory"),
        (faked, "0.weight is a FakeTensor"),
        (mapped, "0.weight belongs to a function within torch.func"),
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), r"0.weight .*dequantize\(\)"),
        (lambda tensor: tensor.flatten(1).to_sparse_csr(), r"0.weight .*to_dense\(\)"),
        (lambda tensor: tensor.to_mkldnn(), r"0.weight .*to_dense\(\)"),
        (lambda tensor: torch.nested.nested_tensor([tensor[0]]), "0.weight is a nested tensor"),
        (lambda _: torch.nn.UninitializedParameter(), "0.weight is a lazy module's"),
        (lambda tensor: tensor.to("meta"), "0.weight is on the device meta"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(quantiz|nested|Sparse)")  # torch's own, of prototypes
def test_a_tensor_without_plain_numbers_in_memory_is_refused(
    model: eb.Model, odd: Callable[[torch.Tensor], torch.Tensor], match: str
) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ArgumentError, match=match):
        model.load_state_dict(state | {"0.weight": odd(state["0.weight"].clone())})
    assert torch.equal(model.state_dict()["0.weight"], state["0.weight"])


@pytest.mark.parametrize("given", [3, None, [("5.bias", torch.zeros(10))], "weights.pt"])
def test_a_state_dict_is_a_dict(model: eb.Model, given: Any) -> None:
    with pytest.raises(TypeError, match=r"state.dict"):
        model.load_state_dict(given)


def emptied(tensor: torch.Tensor) -> None:
    tensor.untyped_storage().resize_(0)


def shortened(tensor: torch.Tensor) -> None:
    tensor.untyped_storage().resize_(tensor.nbytes - 4)


@pytest.mark.parametrize("change", [emptied, shortened])
@pytest.mark.parametrize("name", ["0.weight", "1.num_batches_tracked", "5.bias"])
def test_weights_whose_memory_was_taken_away_are_not_used(
    model: eb.Model, glyphs: eb.Dataset, tmp_path: Path, change: Callable[[torch.Tensor], None], name: str
) -> None:
    tensor = model.state_dict()[name]
    kept, size = tensor.clone(), tensor.untyped_storage().nbytes()
    expected = model.logits(glyphs.test_images)
    change(tensor)
    calls: tuple[Callable[[], object], ...] = (
        lambda: model.logits(glyphs.test_images),
        lambda: model.predict(glyphs.test_images),
        lambda: model.evaluate(glyphs),
        lambda: model.copy(),
        lambda: model.save(tmp_path / "model"),
        lambda: model.state_dict(),
        lambda: model.load_state_dict({}),
        lambda: eb.export.torch_module(model),
        lambda: eb.train(model, glyphs, progress=False, device="cpu"),
    )
    for call in calls:
        with pytest.raises(ArgumentError, match=rf"{name} of network \"tiny\" need.*storage has"):
            call()
    tensor.untyped_storage().resize_(size)
    tensor.copy_(kept)
    np.testing.assert_array_equal(model.logits(glyphs.test_images), expected)


def test_what_changes_a_tensor_alone_leaves_the_model(model: eb.Model, glyphs: eb.Dataset) -> None:
    expected = model.logits(glyphs.test_images)
    state = model.state_dict()
    state["0.weight"].data = state["0.weight"].double()
    state["5.weight"].set_(torch.zeros(3))
    state["1.bias"].untyped_storage().resize_(10_000)  # more than is needed
    np.testing.assert_array_equal(model.logits(glyphs.test_images), expected)


# ---- files ---------------------------------------------------------------------------------------


def test_a_file_brings_everything_back(tmp_path: Path, quick: Any, glyphs: eb.Dataset) -> None:
    model = quick().model  # trained: batch norm's statistics and counters have moved
    path = tmp_path / "model.safetensors"
    model.save(path)
    model.save(str(path))  # again, over itself
    back = eb.Model.load(str(path))
    assert (back.network, back.mean, back.std) == (model.network, model.mean, model.std)
    for name, tensor in model.state_dict().items():
        other = back.state_dict()[name]
        assert (other.dtype, other.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(other, tensor), name
    assert back.state_dict()["1.num_batches_tracked"].item() == 5
    np.testing.assert_array_equal(back.logits(glyphs.test_images), model.logits(glyphs.test_images))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_untrained_model_comes_back_without_normalisation(tmp_path: Path, tiny: eb.Network) -> None:
    tiny.initialize(1).save(tmp_path / "model")
    assert eb.Model.load(tmp_path / "model").mean is None


@pytest.mark.parametrize("keep", [0, 7, 8, 200, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, model: eb.Model, keep: int) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match=r"model\.safetensors"):
        eb.Model.load(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'everybatch.network"', b'everybatch.netwerk"'),  # a safetensors file of somebody else
        (b'out_features\\":10', b'out_features\\":12'),  # a network that its tensors do not fit
        (b'out_features\\":10', b'out_features\\":-1'),  # one that cannot be
        (b'"5.bias"', b'"6.bias"'),
    ],
)
def test_a_file_at_odds_with_itself_is_refused(tmp_path: Path, model: eb.Model, old: bytes, new: bytes) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    with pytest.raises(FileFormatError, match=r"model\.safetensors"):
        eb.Model.load(path)


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what comes after it."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_with(path: Path, header: object, rest: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)


def test_a_file_of_an_earlier_version_has_no_names(tmp_path: Path, model: eb.Model) -> None:
    path = tmp_path / "model.safetensors"
    model.classes = [f"digit {number}" for number in range(10)]
    model.save(path)
    header, rest = header_of(path)
    assert json.loads(header["__metadata__"].pop("everybatch.classes")) == list(model.classes or ())
    write_with(path, header, rest)
    back = eb.Model.load(path)
    assert (back.classes, back.input_shape, back.mean) == (None, (1, 28, 28), model.mean)


@pytest.mark.parametrize(
    "names",
    [
        "",
        "null",
        "3",
        '"0123456789"',
        "[]",
        '["a", "b"]',
        json.dumps([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        json.dumps([*"012345678", "8"]),
        "[" * 100_000,
        '["a", ' * 9,
        '{"0": "a"}',
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path: Path, model: eb.Model, names: str) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    header, rest = header_of(path)
    header["__metadata__"]["everybatch.classes"] = names
    write_with(path, header, rest)
    with pytest.raises(FileFormatError, match=r"model\.safetensors: .*(class|names)"):
        eb.Model.load(path)


def test_damaged_files_are_refused_or_read_as_they_are(tmp_path: Path, model: eb.Model) -> None:
    # 100 files with a few bytes changed, inserted or cut out, mostly in the header. Nothing but an error of ours, or a
    # model that can be used.
    path, rng = tmp_path / "model.safetensors", np.random.default_rng(11)
    model.classes = [*"abcdefghij"]
    model.save(path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    refused = 0
    for number in range(100):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(header if rng.random() < 0.8 else len(content)))
            match number % 4:
                case 0:
                    content[at] = int(rng.integers(256))
                case 1:
                    content[at : at + int(rng.integers(1, 40))] = b""
                case 2:
                    content[at:at] = bytes(rng.integers(32, 127, int(rng.integers(1, 8))).tolist())
                case 3:  # a digit, a bracket or a letter in place of one of its kind
                    content[at] = content[int(rng.integers(8, header))]
        path.write_bytes(content)
        try:
            read = eb.Model.load(path)
        except FileFormatError:
            refused += 1
        else:
            assert read.classes is None or len(set(read.classes)) == 10
            channels, height, width = read.input_shape
            if height * width < 10_000:
                assert read.logits(np.zeros((1, channels, height, width), np.uint8)).shape == (1, 10)
    assert 50 < refused <= 100


def test_nothing_but_a_model_is_replaced(tmp_path: Path, model: eb.Model) -> None:
    for number, content in enumerate(
        [b"my thesis", b"\x89PNG\r\n\x1a\n", b"{}", bytes(100), b"\x02" + bytes(7) + b"{}"]
    ):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        with pytest.raises(FileExistsError, match=r"not a model that was saved before.*choose another name"):
            model.save(path)
        assert path.read_bytes() == content
    torch.save(model.state_dict(), tmp_path / "state.pt")
    with pytest.raises(FileExistsError, match=r"state\.pt"):
        model.save(tmp_path / "state.pt")
    (tmp_path / "empty").touch()
    model.save(tmp_path / "empty")
    model.save(tmp_path / "empty")  # a model now
    assert eb.Model.load(tmp_path / "empty").network == model.network
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_neither_replaced_nor_waited_for(tmp_path: Path, model: eb.Model) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/null")):
        with pytest.raises(FileExistsError, match="is not a plain file"):
            model.save(path)
        with pytest.raises(FileFormatError, match="not a plain file"):
            eb.Model.load(path)
    assert (tmp_path / "pipe").is_fifo()


def test_threads_may_save_to_one_place(tmp_path: Path, model: eb.Model) -> None:
    failed: list[BaseException] = []

    def save() -> None:
        try:
            for _ in range(10):
                model.save(tmp_path / "model")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_that_are_not_there_or_cannot_be(tmp_path: Path, model: eb.Model) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        eb.Model.load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        eb.Model.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        model.save(tmp_path / "missing" / "model")
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NotADirectoryError):
        model.save(tmp_path / "file" / "model")
    with pytest.raises(OSError, match="file name"):
        model.save("")
    with pytest.raises(TypeError):
        model.save(None)  # type: ignore[arg-type]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_model_is_made_by_a_network(model: eb.Model) -> None:
    with pytest.raises(TypeError):
        eb.Model()
    assert "tiny" in repr(model)
