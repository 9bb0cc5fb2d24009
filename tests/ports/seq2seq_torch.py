"""A translator: encoder and decoder with cross attention, positions relative to each other, padding in the source."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    rng = np.random.default_rng(16)
    source_mask = np.arange(8) < np.array([8, 5])[:, None]
    return rng.integers(1, 30, (2, 8)), source_mask, rng.integers(1, 30, (2, 6))


class RelativeBias(nn.Module):
    def __init__(self, heads, reach=3):
        super().__init__()
        self.reach = reach
        self.table = nn.Embedding(2 * reach + 1, heads)

    def forward(self, length):
        positions = torch.arange(length, device=self.table.weight.device)
        distance = positions[None, :] - positions[:, None]
        bucket = distance.clamp(-self.reach, self.reach) + self.reach
        return self.table(bucket).permute(2, 0, 1)[None]


class MultiHead(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.o = nn.Linear(dim, dim, bias=False)

    def forward(self, x, context, mask=None, bias=None):
        batch, length, dim = x.shape
        q = self.q(x).view(batch, length, self.heads, -1).transpose(1, 2)
        kv = self.kv(context).view(batch, context.shape[1], self.heads, 2, -1)
        k, v = kv.permute(3, 0, 2, 1, 4).unbind(0)
        scores = q @ k.mT
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e9)
        out = scores.softmax(-1) @ v
        return self.o(out.transpose(1, 2).reshape(batch, length, dim))


class EncoderLayer(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)
        self.attention = MultiHead(dim, heads)
        self.wi = nn.Linear(dim, hidden, bias=False)
        self.wo = nn.Linear(hidden, dim, bias=False)

    def forward(self, x, mask, bias):
        y = self.norm1(x)
        x = x + self.attention(y, y, mask, bias)
        return x + self.wo(F.relu(self.wi(self.norm2(x))))


class DecoderLayer(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.RMSNorm(dim, eps=1e-6) for _ in range(3))
        self.attention = MultiHead(dim, heads)
        self.cross = MultiHead(dim, heads)
        self.wi = nn.Linear(dim, hidden, bias=False)
        self.wo = nn.Linear(hidden, dim, bias=False)

    def forward(self, x, memory, memory_mask, causal, bias):
        y = self.norm1(x)
        x = x + self.attention(y, y, causal, bias)
        x = x + self.cross(self.norm2(x), memory, memory_mask)
        return x + self.wo(F.relu(self.wi(self.norm3(x))))


class Translator(nn.Module):
    def __init__(self, vocab=30, dim=24, heads=4, hidden=32):
        super().__init__()
        self.shared = nn.Embedding(vocab, dim)
        self.encoder_bias = RelativeBias(heads)
        self.decoder_bias = RelativeBias(heads)
        self.encoder = EncoderLayer(dim, heads, hidden)
        self.decoder = DecoderLayer(dim, heads, hidden)
        self.encoder_norm = nn.RMSNorm(dim, eps=1e-6)
        self.decoder_norm = nn.RMSNorm(dim, eps=1e-6)

    def forward(self, source, source_mask, target):
        mask = source_mask[:, None, None, :]
        x = self.encoder(self.shared(source), mask, self.encoder_bias(source.shape[1]))
        memory = self.encoder_norm(x)
        length = target.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=target.device).tril()
        y = self.decoder(self.shared(target), memory, mask, causal, self.decoder_bias(length))
        y = self.decoder_norm(y) * y.shape[-1] ** -0.5
        return y @ self.shared.weight.t(), memory


def make():
    torch.manual_seed(0)
    return Translator()
