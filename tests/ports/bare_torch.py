"""Two blocks of a decoder with a sliding window; rotary positions in pairs, as complex numbers."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    return np.random.default_rng(11).normal(size=(2, 9, 24)).astype(np.float32)


def precompute_freqs_cis(x, dim, theta=100.0):
    exponents = torch.arange(0, dim, 2, dtype=x.dtype, device=x.device) / dim
    freqs = 1.0 / (theta**exponents)
    positions = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
    angles = torch.outer(positions, freqs)
    return torch.polar(torch.ones_like(angles), angles)


def apply_rotary_emb(x, freqs_cis):
    """x: (batch, length, heads, dim)"""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    turned = pairs * freqs_cis[None, :, None, :]
    return torch.view_as_real(turned).flatten(3)


def window_mask(length, window, device):
    rows = torch.arange(length, device=device)[:, None]
    columns = torch.arange(length, device=device)[None, :]
    return (columns <= rows) & (columns > rows - window)


class WindowAttention(nn.Module):
    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.wq = nn.Linear(dim, dim)
        self.wk = nn.Linear(dim, dim, bias=False)
        self.wv = nn.Linear(dim, dim)
        self.wo = nn.Linear(dim, dim)

    def forward(self, x):
        batch, length, dim = x.shape
        shape = (batch, length, self.heads, dim // self.heads)
        freqs_cis = precompute_freqs_cis(x, shape[-1])
        q = apply_rotary_emb(self.wq(x).view(shape), freqs_cis)
        k = apply_rotary_emb(self.wk(x).view(shape), freqs_cis)
        v = self.wv(x).view(shape)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        mask = window_mask(length, self.window, x.device)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.wo(out.transpose(1, 2).reshape(batch, length, dim))


class Block(nn.Module):
    def __init__(self, dim, heads, window, hidden):
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, bias=False)
        self.attention = WindowAttention(dim, heads, window)
        self.mlp_norm = nn.LayerNorm(dim, bias=False)
        self.mlp_in = nn.Linear(dim, hidden)
        self.mlp_out = nn.Linear(hidden, dim)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        hidden = F.relu(self.mlp_in(self.mlp_norm(x))).square()
        return x + self.mlp_out(hidden)


class Decoder(nn.Module):
    def __init__(self, dim=24, heads=3, window=4, hidden=36, layers=2):
        super().__init__()
        self.layers = nn.ModuleList([Block(dim, heads, window, hidden) for _ in range(layers)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def make():
    torch.manual_seed(0)
    return Decoder()
