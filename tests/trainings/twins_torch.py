"""Two critics with an optimizer each, their targets in a plain tuple. PyTorch."""

import copy

import torch
from torch import nn


def critic():
    return nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 1))


class Critics(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.ModuleList([critic(), critic()])

    def forward(self, x):
        return torch.stack([q(x)[:, 0] for q in self.q])


def training(gamma=0.99, tau=0.05):
    torch.manual_seed(5)
    net = Critics()
    targets = tuple(copy.deepcopy(q) for q in net.q)
    optimizers = tuple(torch.optim.Adam(q.parameters(), lr=3e-3) for q in net.q)

    def step(*batch):
        obs, actions, rewards, next_obs, dones, _ = map(torch.as_tensor, batch)
        with torch.no_grad():
            x = torch.cat([next_obs, actions], 1)
            value = torch.minimum(*(target(x)[:, 0] for target in targets))
            goal = rewards.flatten() + gamma * (1 - dones.flatten()) * value
        loss = ((net(torch.cat([obs, actions], 1)) - goal) ** 2).mean(1).sum()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            for q, target in zip(net.q, targets, strict=True):
                for p, t in zip(q.parameters(), target.parameters(), strict=True):
                    t.copy_((1 - tau) * t + tau * p)
        return loss

    return net, step
