"""Masks as rows: a picture's mask goes through the same crop and mirror, and is averaged down to the size of the latents."""

from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Resampling, Transpose
from torch import Tensor
from torch.nn import functional as F

from studio.data.buckets import Crop
from studio.data.masks import Mask
from studio.training.cache import key


class View(NamedTuple):
    """A mask as one view of its picture shows it. Without a mask, all of it is white."""

    mask: Mask | None
    crop: Crop
    flipped: bool

    @property
    def name(self) -> str:
        """Names its row by all that it depends on, but for the size of the latents' cells."""
        left, top, right, bottom = self.crop.box
        return key("mask", self.mask.identity, self.crop, self.flipped) if self.mask else key("mask", right - left, bottom - top)

    def weights(self, factor: int) -> Tensor:
        """[1, h, w] in 0..1: how white the mask is in each square of `factor` pixels."""
        left, top, right, bottom = self.crop.box
        if self.mask is None:
            return torch.ones(1, (bottom - top) // factor, (right - left) // factor)
        image = self.mask.read().resize(self.crop.resize, Resampling.BILINEAR).crop(self.crop.box)
        if self.flipped:
            image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
        return F.avg_pool2d(torch.from_numpy(np.array(image)).float().div_(255)[None], factor)
