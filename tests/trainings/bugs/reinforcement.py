"""Bugs in reinforcement learning."""

from tests.trainings.bug import Bug

DQN = (
    Bug("dqn-target-early", "q_state.step, 3)", "q_state.step + 1, 3)", "average", step=2),
    Bug(
        "dqn-target-online",
        "apply(q_state.target_params, next_observations)",
        "apply(q_state.params, next_observations)",
        "loss",
        step=2,
    ),
    Bug("dqn-done-missing", "* (1 - dones)", "", "loss"),
    Bug("dqn-gamma", "rewards + 0.99", "rewards + 0.9", "loss"),
    Bug("dqn-clip", "optax.clip(0.05)", "optax.clip(0.5)", "update", "value"),
    Bug("dqn-delta", "delta=1.0", "delta=0.5", "loss"),
    Bug(
        "dqn-stop-gradient-missing",
        "def huber(params):",
        "def huber(params):\n        target = rewards + q_network.apply(params, next_observations).max(-1)",
        "loss",
    ),
)
PPO = (
    Bug("ppo-std-biased", "gae.std(ddof=1)", "gae.std()", "loss"),
    Bug("ppo-entropy-sign", "- ENT_COEF * entropy", "+ ENT_COEF * entropy", "loss"),
    Bug("ppo-epsilon", ", eps=1e-5)", ")", "update"),
    Bug("ppo-schedule", "count // 2", "count", "update"),
    Bug("ppo-max-for-min", "-jnp.minimum(ratio * adv", "-jnp.maximum(ratio * adv", "loss"),
    Bug(
        "ppo-value-clip-missing",
        "jnp.maximum(jnp.square(value - targets), jnp.square(value_clipped - targets)).mean()",
        "jnp.square(value - targets).mean()",
        "loss",
    ),
    Bug("ppo-clip-optax", "optax.stateless(clip_norm)", "optax.clip_by_global_norm(0.5)", "update", step=3),
)
TD3 = (
    Bug("td3-tau", "GAMMA, TAU = 0.99, 0.05", "GAMMA, TAU = 0.99, 0.005", "average", "0.995"),
    Bug("td3-max-of-critics", "jnp.minimum(q1, q2)", "jnp.maximum(q1, q2)", "loss"),
    Bug("td3-noise-not-clipped", "jnp.clip(noise, -0.5, 0.5)", "noise", "loss", step=2),
    Bug("td3-actor-every-step", "n % 2 == 0", "n % 1 == 0", "gradients", step=2),
    Bug(
        "td3-target-of-one",
        "return soft(actor_state), soft(qf1_state), soft(qf2_state)",
        "return soft(actor_state), soft(qf1_state), qf2_state",
        "average",
    ),
    Bug("td3-actor-sign", "return -qf.apply(qf1", "return qf.apply(qf1", "update"),
)
BUGS = (*DQN, *PPO, *TD3)
