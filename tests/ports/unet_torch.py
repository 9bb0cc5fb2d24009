"""A U-Net of a diffusion model: an image and its time, GroupNorm, a transposed convolution, skips."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    rng = np.random.default_rng(5)
    image = rng.normal(size=(2, 3, 12, 16)).astype(np.float32)
    return image, rng.uniform(1, 900, 2).astype(np.float32)


def timestep_embedding(t, dim, max_period=10000.0):
    half = dim // 2
    steps = torch.arange(half, dtype=t.dtype, device=t.device)
    freqs = torch.exp(-math.log(max_period) * steps / half)
    args = t[:, None] * freqs[None]
    return torch.cat([torch.sin(args), torch.cos(args)], dim=-1)


class ResBlock(nn.Module):
    def __init__(self, channels_in, channels_out, time_dim, groups=4):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.time_proj = nn.Linear(time_dim, channels_out)
        self.norm2 = nn.GroupNorm(groups, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        if channels_in != channels_out:
            self.skip = nn.Conv2d(channels_in, channels_out, 1)
        else:
            self.skip = nn.Identity()

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_proj(F.silu(emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.skip(x)


class AttentionBlock(nn.Module):
    def __init__(self, channels, groups=4):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        batch, channels, height, width = x.shape
        flat = self.norm(x).reshape(batch, channels, height * width)
        q, k, v = self.qkv(flat).chunk(3, dim=1)
        scores = torch.einsum("bct,bcs->bts", q, k) * channels**-0.5
        weight = scores.softmax(dim=-1)
        out = torch.einsum("bts,bcs->bct", weight, v)
        return x + self.proj_out(out).reshape(x.shape)


class UNet(nn.Module):
    def __init__(self, channels=8, time_dim=16):
        super().__init__()
        self.channels = channels
        self.time_embed = nn.Sequential(
            nn.Linear(channels, time_dim),
            nn.SiLU(),
            nn.Linear(time_dim, time_dim),
        )
        self.input_conv = nn.Conv2d(3, channels, 3, padding=1)
        self.down_block = ResBlock(channels, channels, time_dim)
        self.downsample = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.mid_block = ResBlock(2 * channels, 2 * channels, time_dim)
        self.mid_attn = AttentionBlock(2 * channels)
        self.upsample = nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1)
        self.up_block = ResBlock(2 * channels, channels, time_dim)
        self.out_norm = nn.GroupNorm(4, channels)
        self.out_conv = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x, t):
        emb = self.time_embed(timestep_embedding(t, self.channels))
        skip = self.down_block(self.input_conv(x), emb)
        h = self.mid_block(self.downsample(skip), emb)
        h = self.mid_attn(h)
        h = torch.cat([self.upsample(h), skip], dim=1)
        h = self.up_block(h, emb)
        return self.out_conv(F.silu(self.out_norm(h)))


def make():
    torch.manual_seed(0)
    return UNet()
