"""M5 and M11: Dai, Dai, Qu, Li and Das 2016, "Very deep convolutional neural networks for raw waveforms".

arXiv 1610.00087, table 1. The first kernel, of 80 samples (10 ms at 8 kHz), takes the place of a spectrogram.
"""

from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import relu

from experiment.registry import Entry, Small
from torchnets.layers import global_average_pool, linear, max_pool

M5 = ((128, True), (128, True), (256, True), (512, True))  # (channels, whether a max-pool of 4 follows)
M11 = (
    *((64, True), (64, False), (64, True), (128, False), (128, True)),
    *((256, False), (256, False), (256, True), (512, False), (512, False)),
)


class MNet(nn.Module):
    """A row of convolutions with BatchNorm, and one linear layer; (N, 1, length) to (N, num_classes)."""

    def __init__(
        self,
        rows: tuple[tuple[int, bool], ...],
        width: int = 64,  # what 64 channels in `rows` become
        num_classes: int = 10,
    ):
        super().__init__()
        self.rows = rows
        widths = [1, *(out * width // 64 for out, _ in rows)]
        first = nn.Conv1d(1, widths[1], 80, stride=4, padding=38)  # a quarter of the length
        rest = (nn.Conv1d(n_in, n_out, 3, padding=1) for n_in, n_out in pairwise(widths[1:]))
        self.conv = nn.ModuleList([first, *rest])
        self.bn = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])
        self.fc = linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        for layer, bn, (_, pooled) in zip(self.conv, self.bn, self.rows, strict=True):
            x = relu(bn(layer(x)))
            x = max_pool(x, 4) if pooled else x
        return self.fc(global_average_pool(x))


SOURCE = "Dai et al. 2016, arXiv 1610.00087"
SMALL = Small((2000, 1), {"width": 8})
MODELS = {
    "m5": Entry(partial(MNet, rows=M5), (8000, 1), 559_114, SOURCE, "fc", small=SMALL),
    "m11": Entry(partial(MNet, rows=M11), (8000, 1), 1_786_442, SOURCE, "fc", small=SMALL),
}
