"""A GPT-2 of two layers, as its authors wrote it: one fused projection, weights (in, out), the head tied."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    return np.random.default_rng(0).integers(0, 61, (2, 10))


class Conv1D(nn.Module):
    """A linear layer whose weight is (in, out)."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) * 0.1)
        self.bias = nn.Parameter(torch.randn(n_out) * 0.1)

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    mask: torch.Tensor

    def __init__(self, n_embd, n_head, n_positions):
        super().__init__()
        self.n_head = n_head
        self.c_attn = Conv1D(n_embd, 3 * n_embd)
        self.c_proj = Conv1D(n_embd, n_embd)
        mask = torch.tril(torch.ones(n_positions, n_positions, dtype=torch.bool))
        self.register_buffer("mask", mask[None, None], persistent=False)

    def split_heads(self, x):
        return x.view(x.shape[0], x.shape[1], self.n_head, -1).transpose(1, 2)

    def forward(self, x):
        length = x.shape[1]
        q, k, v = (self.split_heads(part) for part in self.c_attn(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(~self.mask[:, :, :length, :length], float("-inf"))
        attention = F.softmax(scores, dim=-1)
        merged = (attention @ v).transpose(1, 2).reshape(x.shape)
        return self.c_proj(merged)


class Block(nn.Module):
    def __init__(self, n_embd, n_head, n_positions):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd)
        self.attn = Attention(n_embd, n_head, n_positions)
        self.ln_2 = nn.LayerNorm(n_embd)
        self.c_fc = Conv1D(n_embd, 4 * n_embd)
        self.c_proj = Conv1D(4 * n_embd, n_embd)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")
        return x + self.c_proj(hidden)


class GPT(nn.Module):
    def __init__(self, vocab=61, n_positions=16, n_embd=24, n_head=3, n_layer=2):
        super().__init__()
        self.wte = nn.Embedding(vocab, n_embd)
        self.wpe = nn.Embedding(n_positions, n_embd)
        self.h = nn.ModuleList(Block(n_embd, n_head, n_positions) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, idx):
        positions = torch.arange(idx.shape[1], device=idx.device)
        x = self.wte(idx) + self.wpe(positions)
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def make():
    torch.manual_seed(0)
    return GPT()
