"""Muon: orthogonalised momentum for weights, Adam for biases and norms.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; sizes as in Liu et al. 2025, arXiv 2502.16982.
"""

from typing import Any

import torch

STEPS, COEFFICIENTS, EPSILON = 5, (3.4445, -4.7750, 2.0315), 1e-7
BETAS = (0.9, 0.999)  # Adam's
RMS = 0.2  # close to that of Adam's updates, so that one learning rate suits both


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return a matrix with the same singular vectors and all singular values near 1 (0.7 to 1.2)."""
    if matrix.shape[0] > matrix.shape[1]:  # so that the Gram matrix is the smaller one
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    x = matrix / torch.linalg.norm(matrix).clamp(min=EPSILON)
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def follow(update: torch.Tensor) -> torch.Tensor:
    """Return the update direction for momentum (out, in, ...), as a matrix with a row for each output."""
    matrix = update.reshape(len(update), -1)
    return (orthogonal(matrix) * (RMS * max(matrix.shape) ** 0.5)).reshape(update.shape)


class Muon(torch.optim.Optimizer):
    """The rule, with decoupled decay. `torch.optim.Muon` takes only matrices and rounds to bfloat16."""

    def __init__(self, params: Any, lr: float, momentum: float, weight_decay: float):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient, in place; an optional `closure` computes the gradients first."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            lr = group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                direction = self._muon(p, p.grad, group["momentum"]) if p.ndim > 1 else self._adam(p, p.grad)
                p.mul_(1 - lr * group["weight_decay"]).sub_(lr * direction)
        return loss

    def _muon(self, p: torch.Tensor, grad: torch.Tensor, momentum: float) -> torch.Tensor:
        state = self.state[p]
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(p)).mul_(momentum).add_(grad)
        return follow(grad + momentum * buffer)

    def _adam(self, p: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        state, (b1, b2), eps = self.state[p], BETAS, 1e-8
        first = state.setdefault("exp_avg", torch.zeros_like(p)).mul_(b1).add_((1 - b1) * grad)
        second = state.setdefault("exp_avg_sq", torch.zeros_like(p)).mul_(b2).add_((1 - b2) * grad**2)
        state["step"] = state.get("step", torch.tensor(0.0)) + 1
        count = int(state["step"])  # a tensor of float32 would round the powers
        return first / (1 - b1**count) / ((second / (1 - b2**count)).sqrt() + eps)
