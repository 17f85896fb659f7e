"""`from_torch(share=True)`: the model has the module's tensors; without it, copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import nn

import everybatch as eb
from everybatch.errors import ArgumentError, UnsupportedModuleError
from everybatch.torch_modules._from_torch import convert
from everybatch.torch_modules._owner import Owner
from lab_modules import assert_same_logits, logits_of, pictures, unsettle
from modules_of_people import AlwaysDrops, CifarResNet, KuangliuBlock, WithMiddle

COLOUR = (3, 32, 32)


def resnet() -> nn.Module:
    return unsettle(CifarResNet(KuangliuBlock))


def step(module: nn.Module) -> None:
    """Take a step of PyTorch's SGD with momentum, which changes weights and batch norm's statistics."""
    x, labels = torch.randn(8, *COLOUR, generator=torch.Generator().manual_seed(1)), torch.arange(8)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    F.cross_entropy(module.train()(x), labels).backward()
    optimizer.step()


def test_a_step_of_the_module_is_seen() -> None:
    module = resnet()
    shared, copied = eb.from_torch(module, COLOUR, share=True), eb.from_torch(module, COLOUR)
    images = pictures(shared)
    before = logits_of(module, images, shared)
    step(module)
    after = logits_of(module, images, shared)
    assert np.abs(after - before).max() > 0.1
    assert_same_logits(shared, module)
    np.testing.assert_allclose(copied.logits(images), before, rtol=1e-5, atol=1e-4)


def test_batch_norms_statistics_are_seen() -> None:
    module = resnet()
    model = eb.from_torch(module, COLOUR, share=True)
    with torch.no_grad():
        module.train()(torch.randn(4, *COLOUR) * 3)
    assert_same_logits(model, module)
    assert model.state_dict()["1.num_batches_tracked"] == module.bn1.num_batches_tracked == 1


def test_what_is_loaded_and_set_is_seen() -> None:
    module, other = resnet(), resnet()
    model = eb.from_torch(module, COLOUR, share=True)
    module.load_state_dict(other.state_dict())
    assert_same_logits(model, other)
    for parameter in module.parameters():
        parameter.data = parameter.data * 1.5
    assert_same_logits(model, module)


def test_another_number_format_is_refused_while_it_lasts() -> None:
    module = resnet()
    model = eb.from_torch(module, COLOUR, share=True)
    images = pictures(model)
    module.half()
    with pytest.raises(ArgumentError, match=r"the module's bn1\.running_mean is another tensor by now"):
        model.logits(images)
    module.float()
    with pytest.raises(
        ArgumentError, match=r"bn1\.running_mean is another tensor by now.* eb.from_torch\(module, share=True\)"
    ):
        model.copy()


def test_another_number_format_of_a_parameter() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model = eb.from_torch(module, (1, 28, 28), share=True)
    module.half()
    with pytest.raises(ArgumentError, match=r"weights 1\.weight .* are Half .* and must be Float"):
        model.logits(pictures(model))
    with pytest.raises(ArgumentError, match="are Half"):
        model.copy()
    module.float()
    assert_same_logits(model, module)


def test_what_is_replaced_is_missed() -> None:
    module = resnet()
    model = eb.from_torch(module, COLOUR, share=True)
    kept = model.copy()
    module.layer1 = nn.Sequential()
    with pytest.raises(ArgumentError, match=r"the module's layer1\.0\.conv1\.weight is another tensor by now"):
        model.evaluate(pictures(model), range(5))
    with pytest.raises(ArgumentError, match=r"layer1\.0\.conv1\.weight is another"):
        model.state_dict()
    assert kept.logits(pictures(model)).shape == (5, 10)
    module = resnet()
    model = eb.from_torch(module, COLOUR, share=True)
    module.load_state_dict({name: tensor.clone() for name, tensor in module.state_dict().items()}, assign=True)
    with pytest.raises(ArgumentError, match=r"the module's conv1\.weight is another"):
        model.logits(pictures(model))


def test_channels_last() -> None:
    module = resnet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for share in (False, True):
        assert_same_logits(eb.from_torch(module, COLOUR, share=share), module)


def test_tensors_of_any_strides() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3),
        nn.MaxPool2d(3),
        nn.Flatten(),
        nn.Linear(8 * 8 * 8, 10),
    )
    gaps = torch.rand(200)
    module[0].weight.data = torch.randn(3, 3, 1, 4).permute(3, 2, 1, 0)
    module[1].weight.data, module[1].running_mean = gaps[0:12:3], gaps[100:112:3]
    module[3].weight.data, module[3].bias.data = torch.randn(3, 3, 4, 8).permute(3, 2, 0, 1), gaps[20:60:5]
    module[6].weight.data, module[6].bias.data = torch.randn(512, 10).t(), gaps[70:90:2]
    for share in (True, False):
        assert_same_logits(eb.from_torch(module, (1, 28, 28), share=share), module)


def test_training_works_on_a_copy(colour: eb.Dataset) -> None:
    module = resnet()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    side = nn.Sequential(nn.UpsamplingNearest2d(32), module)
    with pytest.raises(UnsupportedModuleError, match="0 calls interpolate"):
        eb.from_torch(side, (3, 28, 28))
    module.linear = nn.Linear(16, 10)
    module = nn.Sequential(nn.Conv2d(3, 4, 5, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10))
    model = eb.from_torch(module, (3, 28, 28), share=True)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    run = eb.train(model, colour, batch_size=32, progress=False, device="cpu")
    assert run.steps == 3
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_the_models_tensors_are_the_modules() -> None:
    module = resnet()
    made = convert(module, COLOUR, share=True)
    state, names = made.model.state_dict(), {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert set(made.tensors) == set(state)
    assert {old: state[new].data_ptr() for new, old in made.tensors.items()} == {
        n: t.data_ptr() for n, t in names.items()
    }
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_copy_shares_nothing() -> None:
    module = resnet()
    model = eb.from_torch(module, COLOUR)
    state = model.state_dict()
    pointers = {tensor.data_ptr() for tensor in module.state_dict().values()}
    assert not any(tensor.data_ptr() in pointers for tensor in state.values())


def test_for_measuring_alone_it_does_not_matter_how_it_trains() -> None:
    module = resnet()
    module.conv1.weight.requires_grad_(False)
    module.bn1.momentum = None
    with pytest.raises(UnsupportedModuleError, match="momentum=None"):
        convert(module, COLOUR, share=True)
    assert_same_logits(convert(module, COLOUR, share=True, only_evaluation=True).model, module)
    with pytest.raises(UnsupportedModuleError, match="drops in evaluation"):
        convert(WithMiddle(AlwaysDrops()), (1, 28, 28), only_evaluation=True)


def test_normalisation() -> None:
    module = resnet()
    model = eb.from_torch(module, COLOUR, mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4], name="mine")
    assert (model.mean, model.std, model.network.name) == ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4], "mine")
    assert_same_logits(model, module)
    with pytest.raises(ArgumentError, match="have 1 entries, and network"):
        eb.from_torch(module, COLOUR, mean=[0.5], std=[0.5])
    with pytest.raises(TypeError, match="share must be True or False"):
        eb.from_torch(module, COLOUR, share="yes")  # type: ignore[arg-type]


# As Ctrl-C does that comes while the module's weights are looked up.
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, MemoryError])
def test_what_is_raised_while_weights_are_looked_up_arrives(
    monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    model = eb.from_torch(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), (1, 28, 28), share=True)
    images = np.zeros((2, 28, 28), np.uint8)

    def interrupted(_: Owner) -> None:
        raise raised

    with monkeypatch.context() as patch:
        patch.setattr(Owner, "__call__", interrupted)
        with pytest.raises(raised):
            model.predict(images)
    assert model.predict(images).shape == (2,)
