"""`Augment`: how training images are changed from batch to batch while their labels stay."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everybatch import _convert, _core
from everybatch._arguments import numbers, real, whole
from everybatch.errors import ArgumentError

__all__ = ["Augment"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes that keep a digit the digit that it is, for ``train(augment=...)``.

    Each image of each batch gets numbers of its own, uniform within these bounds and drawn from the run's seed. Pixels
    are interpolated between their neighbours; what moves in from outside is black. 0 turns a change off. The images
    are changed on the device that trains; test and validation images never are. ``train(augment_schedule=...)`` has
    all of it fall over a run: the bounds of shift, rotate, scale, shear and elastic and the probability of erase are
    multiplied by its factor; elastic_sigma and erase_area stay.

    Parameters
    ----------
    shift
        Pixels of the image as it was, in each direction, before it is scaled, sheared and turned: with those it may
        come to lie farther off (torchvision's affine moves it last).
    rotate
        Degrees, to either side.
    scale
        Share of the size: 0.1 scales by 0.9 to 1.1.
    shear
        Degrees by which upright lines are inclined, to either side.
    elastic
        Standard deviation in pixels of a smooth displacement, different at each pixel (Simard et al. 2003).
    elastic_sigma
        How smooth: standard deviation in pixels of the Gaussian that it is smoothed with.
    erase
        Probability that a rectangle becomes black, in [0, 1] (Zhong et al. 2017).
    erase_area
        Smallest and largest share of the image that the rectangle covers. It is 0.3 to 3.3 times as high as it is
        wide, where a rectangle of that share fits into the image so.

    Raises
    ------
    ArgumentError
        A number is negative, not finite or larger than makes sense.

    Examples
    --------
    >>> import everybatch as eb
    >>> data = eb.datasets.glyphs(train=100, test=10)
    >>> augment = Augment(shift=2, rotate=10)
    >>> augment(data.train_images[:5], step=3).shape
    (5, 28, 28)
    """

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    elastic_sigma: float = 4.0
    erase: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.2)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "erase_area":
                checked: object = numbers(value, field.name, 2)
            else:
                checked = real(value, field.name)
                if not math.isfinite(checked):
                    raise ArgumentError(f"augment: {field.name} is {value}, and must be a finite number")
            object.__setattr__(self, field.name, checked)
        _core.check_augment(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the bounds by name."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Return the bounds as a JSON object."""
        return json.dumps(self.to_dict())

    def __call__(
        self, images: npt.ArrayLike | torch.Tensor, *, seed: int = 0, step: int = 0, strength: float = 1.0
    ) -> npt.NDArray[np.uint8]:
        """Return images as the training step `step` of a run with this seed would change them, to look at.

        The numbers are drawn for a batch as a whole: to see what a step did, pass all images of its batch, in their
        order, ``dataset.train_images[run.batch_indices(step)]``. Those of fewer images are partly others.

        Parameters
        ----------
        images
            (N, H, W), (N, H, W, C) or (N, C, H, W), as for `Dataset`.
        seed, step
            Both are 0 or above.
        strength
            The factor of that step, in [0, 1], where ``train(augment_schedule=...)`` moves it: with the schedule's
            ``rates(total_steps, lr=1, steps_per_epoch=...)[step]``. 0 changes nothing.

        Returns
        -------
        uint8, of the shape of `images`

        Raises
        ------
        ArgumentError
            `strength` does not lie in [0, 1].
        """
        numbers = whole(seed, "seed", least=0), whole(step, "step", least=0), real(strength, "strength")
        given = _convert.as_array(images, "images")
        changed = _core.augment(given, self.to_dict(), *numbers)
        if given.ndim == 3:
            return changed[..., 0]
        return changed if changed.shape == given.shape else np.ascontiguousarray(np.moveaxis(changed, 3, 1))
