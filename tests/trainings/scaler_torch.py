"""A static loss scale, gradients unscaled before clipping, accumulation by hand every second batch. PyTorch."""

import torch
from torch import nn

SCALE, ACCUM = 1024.0, 2


def training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.GELU(approximate="tanh"), nn.LayerNorm(16), nn.Linear(16, 5))
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    i = 0

    def step(x, y):
        nonlocal i
        loss = nn.functional.cross_entropy(model(torch.as_tensor(x)), torch.as_tensor(y))
        (loss * SCALE / ACCUM).backward()
        i += 1
        if i % ACCUM == 0:
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.div_(SCALE)
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
            opt.step()
            opt.zero_grad()
        return loss

    return model, step
