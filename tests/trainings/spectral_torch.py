"""Weight norm in one layer, spectral norm in another. PyTorch."""

import torch
from torch import nn
from torch.nn.utils import parametrizations


def training():
    torch.manual_seed(0)
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(12, 16)), nn.LeakyReLU(0.1), nn.utils.spectral_norm(nn.Linear(16, 5))
    )
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.9))

    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.multi_margin_loss(model(torch.as_tensor(x)), torch.as_tensor(y))
        loss.backward()
        opt.step()
        return loss

    return model, step
