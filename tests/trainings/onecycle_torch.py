"""OneCycleLR with AdamW, momentum cycled too, focal loss. PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


def focal_loss(logits, y, gamma=2.0, alpha=0.25):
    ce = F.cross_entropy(logits, y, reduction="none")
    pt = torch.exp(-ce)
    return (alpha * (1 - pt) ** gamma * ce).mean()


def training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Hardswish(), nn.Linear(16, 5))
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    sched = torch.optim.lr_scheduler.OneCycleLR(
        opt, max_lr=1e-2, total_steps=12, pct_start=0.3, div_factor=10, final_div_factor=100
    )

    def step(x, y):
        loss = focal_loss(model(torch.as_tensor(x)), torch.as_tensor(y))
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        return loss.item()

    return model, step
