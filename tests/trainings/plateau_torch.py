"""Adam and ReduceLROnPlateau, huber loss on a number. PyTorch."""

import torch
from torch import nn


def training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.Softplus(), nn.Linear(8, 1))
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    sched = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=1, threshold=1e-4)
    loss_fn = nn.HuberLoss(delta=0.7)

    def step(x, y):
        opt.zero_grad()
        loss = loss_fn(model(torch.as_tensor(x))[:, 0], torch.as_tensor(y).to(torch.as_tensor(x).dtype))
        loss.backward()
        opt.step()
        sched.step(loss)
        return loss

    return model, step
