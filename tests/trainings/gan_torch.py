"""A generator and a discriminator, each with its own Adam, trained by turns: the PyTorch side."""

import torch
import torch.nn.functional as F
from torch import nn

RATE, BETAS = 2e-3, (0.5, 0.999)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
        self.critic = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, noise):
        return self.critic(self.generator(noise))


def training():
    torch.manual_seed(5)
    model = Pair()
    first = torch.optim.Adam(model.critic.parameters(), lr=RATE, betas=BETAS)
    second = torch.optim.Adam(model.generator.parameters(), lr=RATE / 2, betas=BETAS)

    def step(x, _labels):
        noise, real = torch.as_tensor(x[:, :4]), torch.as_tensor(x[:, 4:])
        fake = model.generator(noise).detach()
        loss = F.softplus(-model.critic(real)).mean() + F.softplus(model.critic(fake)).mean()
        first.zero_grad()
        loss.backward()
        first.step()
        fooled = F.softplus(-model(noise)).mean()
        second.zero_grad()
        fooled.backward()
        second.step()
        return loss.item()

    return model, step
