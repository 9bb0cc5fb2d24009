"""BERT with a mask and token types; the norm after each residual, a dict of outputs."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    rng = np.random.default_rng(4)
    lengths = np.array([9, 6, 7])
    return {
        "input_ids": rng.integers(3, 50, (3, 9)),
        "attention_mask": (np.arange(9) < lengths[:, None]).astype(np.int64),
        "token_type_ids": rng.integers(0, 2, (3, 9)),
    }


class Embeddings(nn.Module):
    position_ids: torch.Tensor

    def __init__(self, vocab, positions, dim, dropout):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, dim, padding_idx=0)
        self.position_embeddings = nn.Embedding(positions, dim)
        self.token_type_embeddings = nn.Embedding(2, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("position_ids", torch.arange(positions)[None])

    def forward(self, input_ids, token_type_ids):
        position_ids = self.position_ids[:, : input_ids.shape[1]]
        x = self.word_embeddings(input_ids)
        x = x + self.token_type_embeddings(token_type_ids)
        x = x + self.position_embeddings(position_ids)
        return self.dropout(self.LayerNorm(x))


class SelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.dense = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def transpose_for_scores(self, x):
        batch, length, dim = x.shape
        return x.view(batch, length, self.heads, dim // self.heads).permute(0, 2, 1, 3)

    def forward(self, hidden, mask):
        q = self.transpose_for_scores(self.query(hidden))
        k = self.transpose_for_scores(self.key(hidden))
        v = self.transpose_for_scores(self.value(hidden))
        scores = torch.matmul(q, k.transpose(-1, -2))
        scores = scores / math.sqrt(q.shape[-1])
        scores = scores + mask
        probs = self.dropout(F.softmax(scores, dim=-1))
        context = torch.matmul(probs, v).permute(0, 2, 1, 3).contiguous()
        return self.dense(context.view(hidden.shape))


class Layer(nn.Module):
    def __init__(self, dim, heads, intermediate, dropout):
        super().__init__()
        self.attention = SelfAttention(dim, heads, dropout)
        self.attention_norm = nn.LayerNorm(dim, eps=1e-12)
        self.intermediate = nn.Linear(dim, intermediate)
        self.output = nn.Linear(intermediate, dim)
        self.output_norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden, mask):
        attended = self.dropout(self.attention(hidden, mask))
        hidden = self.attention_norm(attended + hidden)
        grown = F.gelu(self.intermediate(hidden))
        return self.output_norm(self.dropout(self.output(grown)) + hidden)


class BertModel(nn.Module):
    def __init__(self, vocab=50, positions=12, dim=32, layers=2, heads=4, intermediate=40, dropout=0.1):
        super().__init__()
        self.embeddings = Embeddings(vocab, positions, dim, dropout)
        self.layer = nn.ModuleList(Layer(dim, heads, intermediate, dropout) for _ in range(layers))
        self.pooler = nn.Linear(dim, dim)

    def forward(self, input_ids, attention_mask, token_type_ids):
        hidden = self.embeddings(input_ids, token_type_ids)
        mask = attention_mask[:, None, None, :].to(hidden.dtype)
        mask = (1.0 - mask) * torch.finfo(hidden.dtype).min
        for layer in self.layer:
            hidden = layer(hidden, mask)
        pooled = torch.tanh(self.pooler(hidden[:, 0]))
        return {"last_hidden_state": hidden, "pooler_output": pooled}


def make():
    torch.manual_seed(0)
    return BertModel()
