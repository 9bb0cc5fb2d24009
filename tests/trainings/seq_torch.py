"""A decoder with padding: Noam's rate, Adam, label smoothing, ignored padding, nn.TransformerEncoderLayer. PyTorch."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        self.tok = nn.Embedding(11, d, padding_idx=0)
        self.pos = nn.Parameter(0.1 * torch.randn(6, d))
        self.layer = nn.TransformerEncoderLayer(d, 2, 16, dropout=0.0, activation="relu", batch_first=True)
        self.out = nn.Linear(d, 11)
        self.d = d

    def forward(self, x):
        mask = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
        h = self.tok(x) * self.d**0.5 + self.pos
        return self.out(self.layer(h, src_mask=mask, src_key_padding_mask=x == 0))


def training():
    torch.manual_seed(0)
    model = Model()
    opt = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: 0.1 * 8**-0.5 * min((s + 1) ** -0.5, (s + 1) * 4**-1.5))
    loss_fn = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)

    def step(x, y):
        opt.zero_grad()
        loss = loss_fn(model(torch.as_tensor(x)).reshape(-1, 11), torch.as_tensor(y).reshape(-1))
        loss.backward()
        opt.step()
        sched.step()
        return loss

    return model, step
