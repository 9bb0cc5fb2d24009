"""Lion as lucidrains wrote it: an optimizer class of one's own. PyTorch."""

from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer


def update_fn(p, grad, exp_avg, lr, wd, beta1, beta2):
    p.data.mul_(1.0 - lr * wd)
    update = exp_avg.clone().mul_(beta1).add(grad, alpha=1.0 - beta1).sign_()
    p.add_(update, alpha=-lr)
    exp_avg.mul_(beta2).add_(grad, alpha=1.0 - beta2)


class Lion(Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in filter(lambda p: p.grad is not None, group["params"]):
                state = self.state[p]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p)
                update_fn(p, p.grad, state["exp_avg"], group["lr"], group["weight_decay"], *group["betas"])
        return loss


def training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Mish(), nn.RMSNorm(16, eps=1e-6), nn.Linear(16, 5))
    opt = Lion(model.parameters(), lr=1e-3, weight_decay=0.1)

    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.as_tensor(x)), torch.as_tensor(y))
        loss.backward()
        opt.step()
        return loss

    return model, step
