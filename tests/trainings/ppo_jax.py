"""PPO's update as in PureJaxRL: a scan over two minibatches, clipped losses, entropy, annealed rate."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.linen.initializers import constant, orthogonal
from flax.training.train_state import TrainState

CLIP_EPS, ENT_COEF, VF_COEF, MAX_GRAD_NORM, LR, NUM_UPDATES = 0.2, 0.01, 0.5, 0.5, 2.5e-3, 12


class ActorCritic(nn.Module):
    @nn.compact
    def __call__(self, x):
        actor = nn.tanh(nn.Dense(8, kernel_init=orthogonal(jnp.sqrt(2)), bias_init=constant(0.0))(x))
        logits = nn.Dense(3, kernel_init=orthogonal(0.01))(actor)
        critic = nn.tanh(nn.Dense(8, kernel_init=orthogonal(jnp.sqrt(2)))(x))
        return jax.nn.log_softmax(logits), jnp.squeeze(nn.Dense(1, kernel_init=orthogonal(1.0))(critic), -1)


def linear_schedule(count):
    return LR * (1.0 - (count // 2) / NUM_UPDATES)


def clip_norm(updates, _=None):
    norm = optax.tree.norm(updates)
    return jax.tree.map(
        lambda u: jnp.where(norm + 1e-6 < MAX_GRAD_NORM, u, u * (MAX_GRAD_NORM / (norm + 1e-6))), updates
    )


@jax.jit
def update(train_state, *traj):
    def update_minibatch(train_state, batch):
        obs, action, old_log_prob, gae, targets, value_old = batch

        def loss_fn(params):
            log_probs, value = train_state.apply_fn({"params": params}, obs)
            log_prob = jnp.take_along_axis(log_probs, action[:, None], axis=-1)[:, 0]
            value_clipped = value_old + (value - value_old).clip(-CLIP_EPS, CLIP_EPS)
            value_loss = 0.5 * jnp.maximum(jnp.square(value - targets), jnp.square(value_clipped - targets)).mean()
            ratio = jnp.exp(log_prob - old_log_prob)
            adv = (gae - gae.mean()) / (gae.std(ddof=1) + 1e-8)
            loss_actor = -jnp.minimum(ratio * adv, jnp.clip(ratio, 1.0 - CLIP_EPS, 1.0 + CLIP_EPS) * adv).mean()
            entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1).mean()
            return loss_actor + VF_COEF * value_loss - ENT_COEF * entropy

        loss, grads = jax.value_and_grad(loss_fn)(train_state.params)
        return train_state.apply_gradients(grads=grads), loss

    minibatches = jax.tree.map(lambda x: x.reshape((2, -1, *x.shape[1:])), traj)
    train_state, losses = jax.lax.scan(update_minibatch, train_state, minibatches)
    return train_state, losses[0]


def training():
    network = ActorCritic()
    params = network.init(jax.random.PRNGKey(0), jnp.zeros((1, 4)))["params"]
    tx = optax.chain(optax.stateless(clip_norm), optax.adam(linear_schedule, eps=1e-5))
    return TrainState.create(apply_fn=network.apply, params=params, tx=tx), update
