"""A CNN with BatchNorm trained by Nesterov's momentum, with a moving average of it: the PyTorch side."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

DECAY = 0.95


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8, momentum=0.2)
        self.fc = nn.Linear(8 * 3 * 3, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn(self.conv(x))), 2)
        return self.fc(x.flatten(1))


class Ema:
    def __init__(self, model):
        self.model = copy.deepcopy(model).eval()
        self.updates = 0

    @torch.no_grad()
    def update(self, model):
        self.updates += 1
        decay = min(DECAY, (1 + self.updates) / (10 + self.updates))
        for ours, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if ours.is_floating_point():
                ours.mul_(decay).add_(theirs, alpha=1 - decay)


def training():
    torch.manual_seed(3)
    model = CNN()
    ema = Ema(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)

    def step(images, labels):
        x = images.permute(0, 3, 1, 2)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        ema.update(model)
        return loss

    return model, step
