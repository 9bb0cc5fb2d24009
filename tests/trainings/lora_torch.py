"""LoRA: a frozen language model whose projections have trained low-rank parts. PyTorch."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, a, b, r=2, alpha=4):
        super().__init__()
        self.linear = nn.Linear(a, b, bias=False)
        self.lora_A = nn.Parameter(torch.empty(r, a))
        self.lora_B = nn.Parameter(torch.zeros(b, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / r

    def forward(self, x):
        return self.linear(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling


class RMSNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return self.weight * (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x)


class LM(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        self.embed = nn.Embedding(11, d)
        self.norm = RMSNorm(d)
        self.gate_proj, self.up_proj = LoRALinear(d, 12), LoRALinear(d, 12)
        self.down_proj = LoRALinear(12, d)
        self.lm_head = nn.Linear(d, 11, bias=False)

    def forward(self, x):
        h = self.embed(x)
        n = self.norm(h)
        h = h + self.down_proj(F.silu(self.gate_proj(n)) * self.up_proj(n))
        return self.lm_head(h)


def training():
    torch.manual_seed(0)
    model = LM()
    for name, p in model.named_parameters():
        p.requires_grad = "lora_" in name
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)

    def step(x, y):
        logits = model(torch.as_tensor(x))
        loss = F.cross_entropy(logits.flatten(0, 1), torch.as_tensor(y).flatten())
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        return loss

    return model, step
