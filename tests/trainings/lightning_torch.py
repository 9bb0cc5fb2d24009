"""A module with its own optimizer, as for Lightning: two batches an update, warm-up, autocast, an average."""

import math

import torch
import torch.nn.functional as F
from torch import nn

RATE, WARMUP, STEPS, DECAY, CLIP, EVERY, EMA = 2e-3, 3, 20, 0.1, 0.25, 2, 0.9


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(12)
        self.fc1 = nn.Linear(12, 16)
        self.fc2 = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc2(F.silu(self.fc1(self.norm(x))))

    def training_step(self, batch):
        x, y = batch
        with torch.autocast("cpu", torch.bfloat16):
            logits = self(x)
        return F.cross_entropy(logits.float(), y)

    def configure_optimizers(self):
        without = [p for name, p in self.named_parameters() if name.endswith("bias") or "norm" in name]
        kept = [p for name, p in self.named_parameters() if not (name.endswith("bias") or "norm" in name)]
        groups = [{"params": kept, "weight_decay": DECAY}, {"params": without, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99))
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def rate(update):
    if update < WARMUP:
        return (update + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (update - WARMUP) / (STEPS - WARMUP)))


class Trainer:
    def __init__(self, module):
        self.module = module
        self.optimizer, self.scheduler = module.configure_optimizers()
        self.ema = torch.optim.swa_utils.AveragedModel(
            module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA)
        )
        self.ema.update_parameters(module)
        self.seen = 0

    def step(self, x, y):
        loss = self.module.training_step((torch.as_tensor(x), torch.as_tensor(y)))
        (loss / EVERY).backward()
        self.seen += 1
        if self.seen % EVERY == 0:
            nn.utils.clip_grad_norm_(self.module.parameters(), CLIP)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            self.ema.update_parameters(self.module)
        return loss.detach()


def training():
    torch.manual_seed(1)
    trainer = Trainer(Classifier())
    return trainer.module, trainer.step
