"""A diffusion transformer: patches, time and class, adaptive LayerNorm, fused attention."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    rng = np.random.default_rng(17)
    return {
        "x": rng.normal(size=(2, 3, 8, 12)).astype(np.float32),
        "t": np.array([3, 740]),
        "y": np.array([1, 4]),
    }


def jax_inputs():
    given = inputs()
    return {"latents": given["x"].transpose(0, 2, 3, 1), "timesteps": given["t"], "labels": given["y"]}


def modulate(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class TimestepEmbedder(nn.Module):
    def __init__(self, dim, frequencies=8):
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t):
        dtype = next(self.parameters()).dtype
        half = self.frequencies // 2
        steps = torch.arange(half, dtype=dtype, device=t.device)
        freqs = torch.exp(-math.log(10000) * steps / half)
        args = t[:, None].to(dtype) * freqs[None]
        return self.mlp(torch.cat([torch.cos(args), torch.sin(args)], dim=-1))


class DiTBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.fc1 = nn.Linear(dim, 2 * dim)
        self.fc2 = nn.Linear(2 * dim, dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def attend(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))

    def forward(self, x, c):
        modulation = self.adaLN_modulation(c)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)
        x = x + gate1.unsqueeze(1) * self.attend(modulate(self.norm1(x), shift1, scale1))
        h = F.gelu(self.fc1(modulate(self.norm2(x), shift2, scale2)), approximate="tanh")
        return x + gate2.unsqueeze(1) * self.fc2(h)


class DiT(nn.Module):
    def __init__(self, channels=3, dim=16, heads=2, depth=2, patch=2, size=(8, 12), classes=5):
        super().__init__()
        self.patch, self.channels = patch, channels
        tokens = size[0] * size[1] // patch**2
        self.x_embedder = nn.Conv2d(channels, dim, patch, stride=patch)
        self.pos_embed = nn.Parameter(0.2 * torch.randn(1, tokens, dim))
        self.t_embedder = TimestepEmbedder(dim)
        self.y_embedder = nn.Embedding(classes, dim)
        self.blocks = nn.ModuleList([DiTBlock(dim, heads) for _ in range(depth)])
        self.norm_final = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.final_modulation = nn.Linear(dim, 2 * dim)
        self.linear = nn.Linear(dim, patch * patch * channels)

    def unpatchify(self, x, height, width):
        p = self.patch
        x = x.reshape(x.shape[0], height // p, width // p, p, p, self.channels)
        x = torch.einsum("nhwpqc->nchpwq", x)
        return x.reshape(x.shape[0], self.channels, height, width)

    def forward(self, x, t, y):
        height, width = x.shape[-2:]
        x = self.x_embedder(x).flatten(2).transpose(1, 2) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.final_modulation(F.silu(c)).chunk(2, dim=1)
        x = self.linear(modulate(self.norm_final(x), shift, scale))
        return self.unpatchify(x, height, width)


def make():
    torch.manual_seed(0)
    return DiT()
