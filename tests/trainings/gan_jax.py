"""A generator and a discriminator, each with its own Adam, trained by turns: the JAX side, Equinox."""

import equinox as eqx
import jax
import optax

RATE, B1 = 2e-3, 0.5


class Mlp(eqx.Module):
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    slope: float = eqx.field(static=True)

    def __init__(self, sizes, slope, key):
        keys = jax.random.split(key)
        self.first = eqx.nn.Linear(sizes[0], sizes[1], key=keys[0])
        self.second = eqx.nn.Linear(sizes[1], sizes[2], key=keys[1])
        self.slope = slope

    def __call__(self, x):
        return self.second(jax.nn.leaky_relu(self.first(x), self.slope))


critic_tx = optax.adam(RATE, b1=B1)
generator_tx = optax.adam(RATE / 2, b1=B1)


def critic_loss(critic, real, fake):
    score = jax.vmap(critic)
    return jax.nn.softplus(-score(real)).mean() + jax.nn.softplus(score(fake)).mean()


def generator_loss(generator, critic, noise):
    return jax.nn.softplus(-jax.vmap(critic)(jax.vmap(generator)(noise))).mean()


@eqx.filter_jit
def step(state, x, _labels):
    generator, critic, generator_state, critic_state = state
    noise, real = x[:, :4], x[:, 4:]
    fake = jax.vmap(generator)(noise)
    loss, grads = eqx.filter_value_and_grad(critic_loss)(critic, real, fake)
    updates, critic_state = critic_tx.update(grads, critic_state)
    critic = eqx.apply_updates(critic, updates)
    grads = eqx.filter_grad(generator_loss)(generator, critic, noise)
    updates, generator_state = generator_tx.update(grads, generator_state)
    generator = eqx.apply_updates(generator, updates)
    return (generator, critic, generator_state, critic_state), loss


def training():
    keys = jax.random.split(jax.random.key(0))
    generator, critic = Mlp((4, 16, 8), 0.0, keys[0]), Mlp((8, 16, 1), 0.2, keys[1])
    states = [tx.init(eqx.filter(m, eqx.is_array)) for tx, m in ((generator_tx, generator), (critic_tx, critic))]
    return (generator, critic, *states), step
