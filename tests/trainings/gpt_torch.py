"""A GPT trained as nanoGPT does: AdamW, decay of matrices alone, clipping, warm-up and cosine. The PyTorch side."""

import math

import torch
import torch.nn.functional as F
from torch import nn

RATE, MIN_RATE, WARMUP, DECAY_STEPS, CLIP = 6e-3, 6e-4, 4, 12, 0.5


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 2 * width)
        self.mlp_proj = nn.Linear(2 * width, width)

    def attention(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in self.c_attn(x).chunk(3, 2))
        scores = q @ k.transpose(-2, -1) / math.sqrt(c // self.heads)
        scores = scores.masked_fill(torch.ones(t, t).tril() == 0, float("-inf"))
        y = (F.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, t, c)
        return self.c_proj(y)

    def forward(self, x):
        x = x + self.attention(self.ln_1(x))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, vocabulary: int = 11, length: int = 6, width: int = 8, heads: int = 2):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(length, width)
        self.drop = nn.Dropout(0.1)
        self.block = Block(width, heads)
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        x = self.block(self.drop(x))
        return self.lm_head(self.ln_f(x))


def rate(step):
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    if step > DECAY_STEPS:
        return MIN_RATE
    share = (step - WARMUP) / (DECAY_STEPS - WARMUP)
    return MIN_RATE + 0.5 * (1 + math.cos(math.pi * share)) * (RATE - MIN_RATE)


def training():
    torch.manual_seed(0)
    model = GPT()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    done = 0

    def step(tokens, targets):
        nonlocal done
        for group in optimizer.param_groups:
            group["lr"] = rate(done)
        logits = model(torch.from_numpy(tokens))
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), torch.from_numpy(targets).view(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done += 1
        return loss.item()

    return model, step
