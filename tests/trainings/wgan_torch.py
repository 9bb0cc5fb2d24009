"""WGAN-GP: a critic with a gradient penalty, a generator every second step. PyTorch."""

import torch
from torch import autograd, nn


class WGAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.G = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
        self.D = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))


def gradient_penalty(D, real, fake, alpha):
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    score = D(mixed)
    gradients = autograd.grad(
        outputs=score, inputs=mixed, grad_outputs=torch.ones_like(score), create_graph=True, retain_graph=True
    )[0]
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def training():
    torch.manual_seed(0)
    model = WGAN()
    opt_d = torch.optim.Adam(model.D.parameters(), lr=1e-3, betas=(0.0, 0.9))
    opt_g = torch.optim.Adam(model.G.parameters(), lr=1e-3, betas=(0.0, 0.9))
    n = 0

    def step(real, z, alpha):
        nonlocal n
        real, z, alpha = map(torch.as_tensor, (real, z, alpha))
        opt_d.zero_grad()
        fake = model.G(z).detach()
        d_loss = -model.D(real).mean() + model.D(fake).mean() + 10.0 * gradient_penalty(model.D, real, fake, alpha)
        d_loss.backward()
        opt_d.step()
        n += 1
        if n % 2 == 0:
            opt_g.zero_grad()
            (-model.D(model.G(z)).mean()).backward()
            opt_g.step()
        return d_loss.item()

    return model, step
