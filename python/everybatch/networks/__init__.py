"""Builders: functions that return a `Network`, a tree of layers. Every option is a keyword.

A signature and the struct of that name in the core tell the same options and defaults; `locals()` is all of them.
"""

from everybatch.networks._alexnet import alexnet
from everybatch.networks._basic_resnet import deep_resnet, resnet18, resnet34
from everybatch.networks._convnet import convnet
from everybatch.networks._kernel_net import kernel_net
from everybatch.networks._lenet import lenet5
from everybatch.networks._resnet import resnet
from everybatch.networks._vgg import vgg11, vgg13
from everybatch.networks._wide_resnet import wide_resnet

__all__ = [
    "alexnet",
    "convnet",
    "deep_resnet",
    "kernel_net",
    "lenet5",
    "resnet",
    "resnet18",
    "resnet34",
    "vgg11",
    "vgg13",
    "wide_resnet",
]
