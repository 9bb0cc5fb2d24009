"""Several labels for each example, binary cross-entropy, RMSprop, a rate per epoch: the PyTorch side."""

import torch
import torch.nn.functional as F
from torch import nn

EPOCH = 4  # steps


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 16)
        self.fc2 = nn.Linear(16, 6)

    def forward(self, x):
        return self.fc2(F.elu(self.fc1(x)))


def training():
    torch.manual_seed(2)
    model = MLP()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-2, alpha=0.99, eps=1e-8)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    done = 0

    def step(x, y):
        nonlocal done
        logits = model(torch.as_tensor(x))
        weight = torch.ones(6) * 2.0
        loss = F.binary_cross_entropy_with_logits(logits, torch.as_tensor(y), pos_weight=weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done += 1
        if done % EPOCH == 0:
            schedule.step()
        return loss

    return model, step
