"""Bugs planted in `dqn_torch.py` and `dqn_jax.py`."""

from tests.ports.bugs.bug import Bug, backward, jax_bug, torch_bug

SOFTPLUS = (
    "class Softplus(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
    "        ctx.save_for_backward(x)\n        return F.softplus(x)\n\n    @staticmethod\n"
    "    def backward(ctx, grad):\n        (x,) = ctx.saved_tensors\n        return grad * torch.tanh(x)\n\n\n"
)

NO_BIAS = (
    "@jax.custom_vjp\ndef dense(x, w, b):\n    return x @ w + b\n\n\n"
    "def dense_fwd(x, w, b):\n    return dense(x, w, b), (x, w, b)\n\n\n"
    "def dense_bwd(kept, grad):\n    x, w, b = kept\n    return grad @ w.T, x.T @ grad, 0 * b\n\n\n"
    "dense.defvjp(dense_fwd, dense_bwd)\n\n\n"
)

BUGS = (
    jax_bug(
        "dqn-pool-without-padding",
        "return total / (size * size)",
        "ones = jnp.ones_like(x)\n"
        "    return total / lax.reduce_window(\n"
        "        ones, 0.0, lax.add, (1, size, size, 1), (1, stride, stride, 1), padding\n    )",
        "x = self.pool1(x)",
        ("return total / lax.reduce_window(", "x = avg_pool(x, 3, 2, 1)"),
        "pad",
    ),
    jax_bug(
        "dqn-leaky-slope",
        "x = jax.nn.leaky_relu(x)\n    x = max_pool(x, 2)",
        "x = jax.nn.leaky_relu(x, 0.2)\n    x = max_pool(x, 2)",
        "x = F.leaky_relu(self.conv2(x), 0.01)",
        "x = jax.nn.leaky_relu(x, 0.2)",
        "slope",
    ),
    jax_bug(
        "dqn-dropout-not-scaled",
        "    if is_training:\n",
        "    x = x * 0.8\n    if is_training:\n",
        ("x = F.softplus(self.body(x))", "advantage = self.advantage(x)"),
        ("x = x * 0.8", 'advantage = linear(params["dqn/~/advantage"], x)'),
        "0.8",
    ),
    jax_bug(
        "dqn-mean-of-the-batch",
        "jnp.mean(advantage, axis=-1, keepdims=True)",
        "jnp.mean(advantage, axis=0, keepdims=True)",
        "centred = advantage - advantage.mean(dim=1, keepdim=True)",
        "q = value + advantage - jnp.mean(advantage, axis=0, keepdims=True)",
        "axis",
    ),
    jax_bug(
        "dqn-outputs-exchanged",
        '{"policy": jax.nn.log_softmax(advantage), "q": q}',
        '{"policy": q, "q": jax.nn.log_softmax(advantage)}',
        'return {"q": self.value(x) + centred, "policy": F.log_softmax(advantage, dim=1)}',
        'return {"policy": q, "q": jax.nn.log_softmax(advantage)}',
        "order",
    ),
    jax_bug(
        "dqn-softmax-for-its-logarithm",
        "jax.nn.log_softmax(advantage)",
        "jax.nn.softmax(advantage)",
        'return {"q": self.value(x) + centred, "policy": F.log_softmax(advantage, dim=1)}',
        'return {"policy": jax.nn.softmax(advantage), "q": q}',
        "log",
    ),
    Bug(
        "dqn-custom-gradient",
        "dqn",
        "jax",
        (
            ("x = jax.nn.softplus(linear(", "x = softplus(linear("),
            (
                "def apply(params, rng",
                "@jax.custom_jvp\ndef softplus(x):\n    return jax.nn.softplus(x)\n\n\n"
                "@softplus.defjvp\ndef softplus_jvp(primals, tangents):\n"
                "    return softplus(*primals), jnp.tanh(primals[0]) * tangents[0]\n\n\ndef apply(params, rng",
            ),
        ),
        ("x = F.softplus(self.body(x))",),
        (
            "return softplus(*primals), jnp.tanh(primals[0]) * tangents[0]",
            'x = softplus(linear(params["dqn/~/torso"], x))',
        ),
        "gradient",
        backward=True,
    ),
    backward(
        Bug(
            "dqn-function",
            "dqn",
            "torch",
            (
                ("x = F.softplus(self.body(x))", "x = Softplus.apply(self.body(x))"),
                ("class DuelingDQN(nn.Module):", SOFTPLUS + "class DuelingDQN(nn.Module):"),
            ),
            ("x = Softplus.apply(self.body(x))", "return grad * torch.tanh(x)"),
            ('x = jax.nn.softplus(linear(params["dqn/~/torso"], x))',),
            "function",
        )
    ),
    backward(
        torch_bug(
            "dqn-hook",
            "        x = self.pool1(x)\n",
            "        x = self.pool1(x)\n        x.register_hook(lambda grad: 0.1 * grad)\n",
            ("x.register_hook(lambda grad: 0.1 * grad)", "x = self.pool1(x)"),
            ("x = avg_pool(x, 3, 2, 1)", "return total / (size * size)"),
            "hook",
        )
    ),
    backward(
        Bug(
            "dqn-bias-without-gradient",
            "dqn",
            "jax",
            (
                (
                    '    value = linear(params["dqn/~/value"], x)\n',
                    '    value = dense(x, *map(params["dqn/~/value"].get, "wb"))\n',
                ),
                ("def avg_pool(", NO_BIAS + "def avg_pool("),
            ),
            ('return {"q": self.value(x) + centred, "policy": F.log_softmax(advantage, dim=1)}',),
            ('value = dense(x, *map(params["dqn/~/value"].get, "wb"))', "return grad @ w.T, x.T @ grad, 0 * b"),
            "rule",
        )
    ),
    backward(
        jax_bug(
            "dqn-mean-stopped",
            "jnp.mean(advantage, axis=-1, keepdims=True)",
            "jax.lax.stop_gradient(jnp.mean(advantage, axis=-1, keepdims=True))",
            "centred = advantage - advantage.mean(dim=1, keepdim=True)",
            "q = value + advantage - jax.lax.stop_gradient(jnp.mean(advantage, axis=-1, keepdims=True))",
            "stop_gradient",
        )
    ),
)
