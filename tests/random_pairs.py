"""Pairs of modules that draw random numbers, right ones and wrong ones, each as a function that makes it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn as tn
from torch.nn import functional

RNG = np.random.default_rng(0)
POINTS, WORDS = RNG.normal(size=(8, 6)), RNG.normal(size=(4, 5, 8))


def zeros(**shapes):
    return {name: np.zeros(shape) for name, shape in shapes.items()}


class Dropping(tn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.a, self.b, self.c, self.drop = tn.Linear(6, 16), tn.Linear(16, 16), tn.Linear(16, 3), tn.Dropout(rate)

    def forward(self, x):
        x = self.drop(torch.tanh(self.a(x)))
        return self.c(self.drop(torch.tanh(self.b(x))))


TREE = zeros(a=(6, 16), ab=(16,), b=(16, 16), bb=(16,), c=(16, 3), cb=(3,))


def dropped(key, x, rate=0.3, shape=None):
    return jnp.where(jax.random.bernoulli(key, 1 - rate, shape or x.shape), x / (1 - rate), 0)


def dropping(drop=dropped, split=jax.random.split):
    def apply(p, x, *, key=None):
        keys = (None, None) if key is None else split(key)
        h = jnp.tanh(x @ p["a"] + p["ab"])
        h = h if key is None else drop(keys[0], h)
        h = jnp.tanh(h @ p["b"] + p["bb"])
        h = h if key is None else drop(keys[1], h)
        return h @ p["c"] + p["cb"]

    return apply, TREE


def of_examples(split):
    """Take one example at a time, with a key of its own."""
    apply, tree = dropping()

    def mapped(p, x, *, key=None):
        return apply(p, x) if key is None else jax.vmap(lambda e, k: apply(p, e, key=k))(x, split(key, len(x)))

    return mapped, tree


def two_keys(p, x, *, dropout_key=None, noise_key=None):
    return dropping(split=lambda _: (dropout_key, noise_key))[0](p, x, key=dropout_key)


class EquinoxDropping(eqx.Module):
    layers: list
    drop: eqx.nn.Dropout
    reused: bool

    def __init__(self, reused=False):
        keys = jax.random.split(jax.random.key(0), 3)
        sizes = ((6, 16), (16, 16), (16, 3))
        self.layers = [eqx.nn.Linear(*size, key=key) for size, key in zip(sizes, keys, strict=True)]
        self.drop, self.reused = eqx.nn.Dropout(0.3), reused

    def __call__(self, x, key=None):
        first, second = (None, None) if key is None else jax.random.split(key)
        a, b, c = self.layers
        x = self.drop(jnp.tanh(a(x)), key=first)
        return c(self.drop(jnp.tanh(b(x)), key=first if self.reused else second))


class LinenDropping(linen.Module):
    reused: bool = False

    @linen.compact
    def __call__(self, x, train=False):
        key = self.make_rng("dropout") if train and self.reused else None
        for width in (16, 16):
            x = jnp.tanh(linen.Dense(width)(x))
            x = linen.Dropout(0.3, deterministic=not train)(x, rng=key)
        return linen.Dense(3)(x)


class NnxDropping(nnx.Module):
    def __init__(self, rngs, seeds=(0, 1)):
        self.a, self.b = nnx.Linear(6, 16, rngs=rngs), nnx.Linear(16, 16, rngs=rngs)
        self.c = nnx.Linear(16, 3, rngs=rngs)
        self.first, self.second = (nnx.Dropout(0.3, rngs=nnx.Rngs(dropout=seed)) for seed in seeds)

    def __call__(self, x):
        return self.c(self.second(jnp.tanh(self.b(self.first(jnp.tanh(self.a(x)))))))


class Path(tn.Module):
    """Stochastic depth; `floored` as timm writes it."""

    def __init__(self, *, floored=False):
        super().__init__()
        self.a, self.floored = tn.Linear(6, 6), floored

    def forward(self, x):
        y = torch.tanh(self.a(x))
        if self.training and self.floored:
            y = y / 0.8 * (0.8 + torch.rand(len(x), 1)).floor()
        elif self.training:
            y = y * torch.empty(len(x), 1).bernoulli_(0.8) / 0.8
        return x + y


class LinenPath(linen.Module):
    shape: tuple[int, ...] = (8, 1)
    keep: float = 0.8

    @linen.compact
    def __call__(self, x, train=False):
        y = jnp.tanh(linen.Dense(6)(x))
        if train:
            y = y * jax.random.bernoulli(self.make_rng("dropout"), self.keep, self.shape) / 0.8
        return x + y


class Attention(tn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (tn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        weights = functional.dropout((q @ k.mT / 2).softmax(-1), 0.2, self.training)
        return self.out((weights @ v).transpose(1, 2).flatten(-2))


class LinenAttention(linen.Module):
    shared: bool

    @linen.compact
    def __call__(self, x, train=False):
        layer = linen.MultiHeadDotProductAttention(2, dropout_rate=0.2, broadcast_dropout=self.shared)
        return layer(x, deterministic=not train)


class Recurrent(tn.Module):
    """One mask for all steps."""

    def __init__(self):
        super().__init__()
        self.a, self.b = tn.Linear(8, 8), tn.Linear(8, 8)

    def forward(self, x):
        h, mask = x.new_zeros(len(x), 8), functional.dropout(x.new_ones(len(x), 8), 0.25, self.training)
        for step in x.unbind(1):
            h = torch.tanh(self.a(step) + self.b(h * mask))
        return h


def recurrent(p, x, *, key=None):
    def cell(h, step):
        seen = h if key is None else dropped(key, h, 0.25)
        return jnp.tanh(step @ p["a"] + p["ab"] + seen @ p["b"] + p["bb"]), None

    return jax.lax.scan(cell, jnp.zeros((len(x), 8)), x.transpose(1, 0, 2))[0]


class Branches(tn.Module):
    """Two branches, and a draw for leaving the layer out, which has no effect at a probability of 0."""

    def __init__(self, left_out=0.0):
        super().__init__()
        self.a, self.b, self.c, self.e = tn.Linear(6, 16), tn.Linear(6, 12), tn.Linear(16, 3), tn.Linear(12, 3)
        self.left_out = left_out

    def forward(self, x):
        if self.training and torch.rand([]) < self.left_out:
            return x[:, :3]
        a = functional.dropout(torch.tanh(self.a(x)), 0.3, self.training)
        return self.c(a) + self.e(functional.dropout(torch.tanh(self.b(x)), 0.2, self.training))


def branches(p, x, *, key=None):
    b, a = jnp.tanh(x @ p["b"] + p["bb"]), jnp.tanh(x @ p["a"] + p["ab"])
    if key is not None:
        first, second = jax.random.split(key)
        b, a = dropped(first, b, 0.2), dropped(second, a, 0.3)
    return a @ p["c"] + p["cb"] + b @ p["e"] + p["eb"]


BRANCHES = zeros(a=(6, 16), ab=(16,), b=(6, 12), bb=(12,), c=(16, 3), cb=(3,), e=(12, 3), eb=(3,))


class Gumbel(tn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = tn.Linear(6, 5), tn.Linear(5, 3)

    def forward(self, x):
        logits = self.a(x)
        if self.training:
            logits = logits - torch.log(-torch.log(torch.rand_like(logits)))
        return self.b(torch.softmax(logits / 0.7, -1))


def gumbel(noise):
    def apply(p, x, *, key=None):
        logits = x @ p["a"] + p["ab"]
        logits = logits if key is None else logits + noise(key, logits.shape)
        return jax.nn.softmax(logits / 0.7, -1) @ p["b"] + p["bb"]

    return apply, zeros(a=(6, 5), ab=(5,), b=(5, 3), bb=(3,))


class Sampling(tn.Module):
    """A variational autoencoder that samples in both modes."""

    def __init__(self):
        super().__init__()
        self.a, self.m, self.v, self.d = tn.Linear(6, 8), tn.Linear(8, 4), tn.Linear(8, 4), tn.Linear(4, 6)

    def forward(self, x):
        h = torch.relu(self.a(x))
        mean, log_variance = self.m(h), self.v(h)
        return self.d(mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)), mean, log_variance


def sampling(noise=jax.random.normal, half=0.5):
    def apply(p, x, key):
        h = jax.nn.relu(x @ p["a"] + p["ab"])
        mean, log_variance = h @ p["m"] + p["mb"], h @ p["v"] + p["vb"]
        return (mean + noise(key, mean.shape) * jnp.exp(half * log_variance)) @ p["d"] + p["db"], mean, log_variance

    return apply, zeros(a=(6, 8), ab=(8,), m=(8, 4), mb=(4,), v=(8, 4), vb=(4,), d=(4, 6), db=(6,))


class LinenSampling(linen.Module):
    @linen.compact
    def __call__(self, x, z_rng):
        h = linen.relu(linen.Dense(8)(x))
        mean, log_variance = linen.Dense(4)(h), linen.Dense(4)(h)
        noise = jax.random.normal(z_rng, mean.shape)
        return linen.Dense(6)(mean + noise * jnp.exp(0.5 * log_variance)), mean, log_variance


class LinenDrawing(linen.Module):
    @linen.compact
    def __call__(self, x):
        return LinenSampling()(x, self.make_rng("noise"))


class EquinoxSampling(eqx.Module):
    layers: list

    def __init__(self):
        keys = jax.random.split(jax.random.key(0), 4)
        sizes = ((6, 8), (8, 4), (8, 4), (4, 6))
        self.layers = [eqx.nn.Linear(*size, key=key) for size, key in zip(sizes, keys, strict=True)]

    def __call__(self, x, key):
        a, m, v, d = self.layers
        h = jax.nn.relu(a(x))
        mean, log_variance = m(h), v(h)
        return d(mean + jax.random.normal(key, mean.shape) * jnp.exp(0.5 * log_variance)), mean, log_variance


RIGHT = {
    "function": lambda: (Dropping(), dropping()),
    "what is dropped": lambda: (
        Dropping(),
        dropping(lambda k, h: jnp.where(jax.random.bernoulli(k, 0.3, h.shape), 0, h / 0.7)),
    ),
    "what is dropped, a half": lambda: (
        Dropping(0.5),
        dropping(lambda k, h: jnp.where(jax.random.bernoulli(k, 0.5, h.shape), 0, h * 2)),
    ),
    "uniform below": lambda: (Dropping(), dropping(lambda k, h: (jax.random.uniform(k, h.shape) < 0.7) * h / 0.7)),
    "uniform above": lambda: (Dropping(), dropping(lambda k, h: (jax.random.uniform(k, h.shape) >= 0.3) * h / 0.7)),
    "a key for each example": lambda: (Dropping(), of_examples(jax.random.split)),
    "two keys": lambda: (Dropping(), (two_keys, TREE)),
    "Equinox": lambda: (Dropping(), EquinoxDropping()),
    "Linen": lambda: (Dropping(), LinenDropping()),
    "NNX": lambda: (Dropping(), NnxDropping(nnx.Rngs(0))),
    "stochastic depth": lambda: (Path(), LinenPath()),
    "stochastic depth of timm": lambda: (Path(floored=True), LinenPath()),
    "attention": lambda: (Attention(), LinenAttention(shared=False), WORDS),
    "one mask for all steps": lambda: (Recurrent(), (recurrent, zeros(a=(8, 8), ab=(8,), b=(8, 8), bb=(8,))), WORDS),
    "another order, and a draw for nothing": lambda: (Branches(), (branches, BRANCHES)),
    "Gumbel": lambda: (Gumbel(), gumbel(jax.random.gumbel)),
    "Gumbel by hand": lambda: (Gumbel(), gumbel(lambda k, s: -jnp.log(-jnp.log(jax.random.uniform(k, s))))),
}
SAME_KEY = "PyTorch draws 2 masks in training mode, JAX 1 mask, with the same key at "
WRONG = {
    "same key": (lambda: (Dropping(), dropping(split=lambda key: (key, key))), SAME_KEY),
    "same key in Equinox": (lambda: (Dropping(), EquinoxDropping(reused=True)), SAME_KEY),
    "same key in Linen": (lambda: (Dropping(), LinenDropping(reused=True)), SAME_KEY),
    "same seed in NNX": (lambda: (Dropping(), NnxDropping(nnx.Rngs(0), (0, 0))), SAME_KEY),
    "same key for all examples": (
        lambda: (Dropping(), of_examples(lambda key, count: jnp.broadcast_to(key, (count, *key.shape)))),
        "with one key for several examples",
    ),
    "one mask for all examples": (
        lambda: (Dropping(), dropping(lambda k, h: dropped(k, h, shape=(1, 16)))),
        "PyTorch draws a mask (8, 16) at ",
    ),
    "another rate of uniform numbers": (
        lambda: (Dropping(), dropping(lambda k, h: (jax.random.uniform(k, h.shape) < 0.71) * h / 0.7)),
        "no numbers of one law let both agree",
    ),
    "dropout in JAX alone": (lambda: (Dropping(0.0), dropping()), "PyTorch draws none in training mode, JAX 2 masks"),
    "a path for all examples": (lambda: (Path(), LinenPath((1, 1))), "JAX (1, 1) at "),
    "another rate of timm's": (
        lambda: (Path(floored=True), LinenPath(keep=0.7)),
        "no numbers of one law let both agree",
    ),
    "one mask for all heads": (
        lambda: (Attention(), LinenAttention(shared=True), WORDS),
        "PyTorch draws a mask (4, 2, 5, 5) at ",
    ),
    "a layer that is left out": (
        lambda: (Branches(0.2), (branches, BRANCHES)),
        "PyTorch draws random numbers 3 times in training mode, JAX 2 masks",
    ),
    "normal for Gumbel": (
        lambda: (Gumbel(), gumbel(jax.random.normal)),
        "PyTorch draws uniform numbers at ",
    ),
    "Gumbel noise for all examples": (
        lambda: (Gumbel(), gumbel(lambda k, s: jax.random.gumbel(k, s[-1:]))),
        "JAX (5,) at ",
    ),
}
SAMPLING = {
    "function": lambda: sampling(),
    "jitted": lambda: (jax.jit(sampling()[0]), sampling()[1]),
    "Linen, given a key": LinenSampling,
    "Linen, its own key": LinenDrawing,
    "Equinox": EquinoxSampling,
}
