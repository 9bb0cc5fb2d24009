"""Gemma's manner: RMSNorm as 1 + weight in float32, embeddings scaled by sqrt(d), one tied matrix, capped logits."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    return {"tokens": np.random.default_rng(15).integers(0, 41, (2, 8))}


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(0.1 * torch.randn(dim))

    def forward(self, x):
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        output = normed * (1.0 + self.weight.float())
        return output.type_as(x)


class Attention(nn.Module):
    def __init__(self, dim, heads, head_dim, softcap):
        super().__init__()
        self.heads, self.head_dim, self.softcap = heads, head_dim, softcap
        self.qkv_proj = nn.Linear(dim, (heads + 2) * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, x):
        batch, length, _ = x.shape
        sizes = [self.heads * self.head_dim, self.head_dim, self.head_dim]
        q, k, v = self.qkv_proj(x).split(sizes, dim=-1)
        q = q.view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        k, v = k.unsqueeze(1), v.unsqueeze(1)
        scores = torch.matmul(q, k.transpose(2, 3)) * self.head_dim**-0.5
        scores = self.softcap * torch.tanh(scores / self.softcap)
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(future, torch.finfo(scores.dtype).min)
        weights = F.softmax(scores.float(), dim=-1).type_as(q)
        out = torch.matmul(weights, v).transpose(1, 2).contiguous()
        return self.o_proj(out.view(batch, length, -1))


class Layer(nn.Module):
    def __init__(self, dim, heads, head_dim, hidden):
        super().__init__()
        self.attn_norm = RMSNorm(dim)
        self.attn = Attention(dim, heads, head_dim, softcap=5.0)
        self.mlp_norm = RMSNorm(dim)
        self.gate_proj = nn.Linear(dim, hidden, bias=False)
        self.up_proj = nn.Linear(dim, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        x = x + self.attn(self.attn_norm(x))
        y = self.mlp_norm(x)
        y = F.gelu(self.gate_proj(y), approximate="tanh") * self.up_proj(y)
        return x + self.down_proj(y)


class Gemma(nn.Module):
    def __init__(self, vocab=41, dim=24, layers=2, heads=3, head_dim=8, hidden=32):
        super().__init__()
        self.embedder = nn.Embedding(vocab, dim)
        self.layers = nn.ModuleList(Layer(dim, heads, head_dim, hidden) for _ in range(layers))
        self.norm = RMSNorm(dim)

    def forward(self, tokens):
        x = self.embedder(tokens)
        x = x * x.shape[-1] ** 0.5
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.norm(x), self.embedder.weight)
        return 30.0 * torch.tanh(logits / 30.0)


def make():
    torch.manual_seed(0)
    return Gemma()
