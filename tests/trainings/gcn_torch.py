"""A graph network trained on some nodes, decay on its first layer alone. PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


class GraphConvolution(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(a, b) * 0.3)
        self.bias = nn.Parameter(torch.zeros(b))

    def forward(self, x, adj):
        return torch.spmm(adj, torch.mm(x, self.weight)) + self.bias


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.gc1, self.gc2 = GraphConvolution(6, 8), GraphConvolution(8, 4)

    def forward(self, x, adj):
        x = F.dropout(F.relu(self.gc1(x, adj)), 0.5, training=self.training)
        return F.log_softmax(self.gc2(x, adj), dim=1)


def training():
    torch.manual_seed(0)
    model = GCN()
    groups = [
        {"params": model.gc1.parameters(), "weight_decay": 5e-4},
        {"params": model.gc2.parameters(), "weight_decay": 0},
    ]
    optimizer = torch.optim.Adam(groups, lr=0.01)

    def step(x, adj, y, mask):
        model.train()
        optimizer.zero_grad()
        out = model(torch.as_tensor(x), torch.as_tensor(adj))
        mask = torch.as_tensor(mask)
        loss = F.nll_loss(out[mask], torch.as_tensor(y)[mask])
        loss.backward()
        optimizer.step()
        return loss

    return model, step
