"""BYOL: an online network with a predictor, a target network that follows it. PyTorch."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn


def mlp(a, b, c):
    return nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(inplace=True), nn.Linear(b, c))


class BYOL(nn.Module):
    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), mlp(16, 12, 8))
        self.predictor = mlp(8, 12, 8)
        self.target = copy.deepcopy(self.online)
        for p in self.target.parameters():
            p.requires_grad = False

    @torch.no_grad()
    def update_target(self, tau):
        for o, t in zip(self.online.parameters(), self.target.parameters(), strict=True):
            t.data = t.data * tau + o.data * (1.0 - tau)

    def forward(self, x1, x2):
        p1, p2 = self.predictor(self.online(x1)), self.predictor(self.online(x2))
        with torch.no_grad():
            z1, z2 = self.target(x1), self.target(x2)
        return (loss_fn(p1, z2.detach()) + loss_fn(p2, z1.detach())).mean()


def loss_fn(x, y):
    x, y = F.normalize(x, dim=-1, p=2), F.normalize(y, dim=-1, p=2)
    return 2 - 2 * (x * y).sum(dim=-1)


def training():
    torch.manual_seed(3)
    model = BYOL()
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9, weight_decay=1e-3
    )
    it = 0

    def step(a, b):
        nonlocal it
        loss = model(torch.as_tensor(a), torch.as_tensor(b))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tau = 1 - (1 - 0.9) * (math.cos(math.pi * it / 20) + 1) / 2
        model.update_target(tau)
        it += 1
        return loss

    return model, step
