"""A denoising U-Net with timesteps, an average by deep copy, Adam with warm-up. PyTorch."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn


def timestep_embedding(t, dim=8):
    half = dim // 2
    freqs = torch.exp(-math.log(10000) * torch.arange(half) / half)
    args = t[:, None] * freqs[None]
    return torch.cat([args.sin(), args.cos()], dim=-1)


class ResBlock(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.norm1 = nn.GroupNorm(2, cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.emb = nn.Linear(16, cout)
        self.norm2 = nn.GroupNorm(2, cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.emb(F.silu(emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.skip(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16))
        self.inp = nn.Conv2d(2, 4, 3, padding=1)
        self.down1 = ResBlock(4, 4)
        self.pool = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.mid = ResBlock(4, 8)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.up1 = ResBlock(12, 4)
        self.norm = nn.GroupNorm(2, 4)
        self.out = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x, t):
        emb = self.time(timestep_embedding(t))
        h1 = self.down1(self.inp(x), emb)
        h = self.mid(self.pool(h1), emb)
        h = self.up1(torch.cat([self.up(h), h1], dim=1), emb)
        return self.out(F.silu(self.norm(h)))


class Diffusion:
    def __init__(self, steps=20):
        betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)
        alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        self.sqrt_ac, self.sqrt_omac = alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()

    def q_sample(self, x, t, noise):
        a = self.sqrt_ac.to(x.dtype)[t][:, None, None, None]
        return a * x + self.sqrt_omac.to(x.dtype)[t][:, None, None, None] * noise


def training():
    torch.manual_seed(0)
    model = UNet()
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(s + 1, 4) / 4)
    diffusion = Diffusion()
    n = 0

    def step(x, t, noise):
        nonlocal n
        x, t, noise = (
            torch.as_tensor(x).permute(0, 3, 1, 2),
            torch.as_tensor(t),
            torch.as_tensor(noise).permute(0, 3, 1, 2),
        )
        opt.zero_grad()
        loss = F.mse_loss(model(diffusion.q_sample(x, t, noise), t), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        sched.step()
        n += 1
        decay = min(0.99, (1 + n) / (10 + n))
        with torch.no_grad():
            for pe, p in zip(ema.parameters(), model.parameters(), strict=True):
                pe.mul_(decay).add_(p, alpha=1 - decay)
        return loss.item()

    return model, step
