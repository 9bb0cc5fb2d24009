"""Three pieces of a batch through a network with BatchNorm, whose statistics each piece moves: the PyTorch side."""

import torch
import torch.nn.functional as F
from torch import nn

PIECES, WARMUP = 3, 4


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.conv(x))).mean((2, 3)))


def training():
    torch.manual_seed(7)
    model = CNN()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: min(done / WARMUP, 1.0))

    def step(images, labels):
        x, y = torch.as_tensor(images).permute(0, 3, 1, 2), torch.as_tensor(labels)
        optimizer.zero_grad()
        losses = []
        for piece, wanted in zip(x.chunk(PIECES), y.chunk(PIECES), strict=True):
            losses.append(F.cross_entropy(model(piece), wanted) / PIECES)
            losses[-1].backward()
        optimizer.step()
        schedule.step()
        return sum(losses)

    return model, step
