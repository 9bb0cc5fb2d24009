"""LoRA: a frozen language model with trained low-rank parts. optax.multi_transform and set_to_zero."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import traverse_util
from flax.training.train_state import TrainState


class LoRADense(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        w = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        a = self.param("lora_a", nn.initializers.normal(0.1), (x.shape[-1], 2))
        b = self.param("lora_b", nn.initializers.zeros, (2, self.features))
        return x @ w + (x @ a) @ b * 2.0


class LM(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.Embed(11, 8, name="embed")(x)
        n = nn.RMSNorm(epsilon=1e-6, name="norm")(h)
        h = h + LoRADense(8, name="down_proj")(
            nn.silu(LoRADense(12, name="gate_proj")(n)) * LoRADense(12, name="up_proj")(n)
        )
        return nn.Dense(11, use_bias=False, name="lm_head")(h)


def labels(params):
    flat = traverse_util.flatten_dict(params)
    return traverse_util.unflatten_dict({k: "lora" if k[-1].startswith("lora") else "frozen" for k in flat})


@jax.jit
def step(state, x, y):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def training():
    model = LM()
    params = model.init(jax.random.key(0), jnp.zeros((1, 6), jnp.int32))["params"]
    tx = optax.multi_transform({"lora": optax.adamw(1e-2, weight_decay=0.0), "frozen": optax.set_to_zero()}, labels)
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx), step
