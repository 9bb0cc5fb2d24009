"""Bugs in trainings with targets, closures, rules of one's own and accumulation, expected before they were run."""

from tests.trainings.bug import Bug

BUGS = (
    Bug(
        "td3-target-online",
        "qf.apply(qf1_state.target_params, next_obs",
        "qf.apply(qf1_state.params, next_obs",
        "loss",
        step=8,
    ),  # until then the other critic is the smaller one
    Bug(
        "td3-actor-of-second",
        "-qf.apply(qf1_state.params, obs, actor",
        "-qf.apply(qf2_state.params, obs, actor",
        "update",
    ),
    Bug("td3-rate", "tx=optax.adam(3e-3)", "tx=optax.adam(3e-4)", "update", "rate"),
    Bug("dqn-sum", "delta=1.0).mean()", "delta=1.0).sum()", "loss", "sum"),
    Bug("dqn-tanh", "x = nn.relu(nn.Dense(8)(x))", "x = nn.tanh(nn.Dense(8)(x))", "forward", "tanh"),
    Bug("dqn-epsilon", "optax.adam(2.5e-3)", "optax.adam(2.5e-3, eps=1e-5)", "update", "epsilon"),
    Bug("closure-inside", "eps_in_sqrt=False", "eps_in_sqrt=True", "update", "inside"),
    Bug("closure-rate", "exponential_decay(1e-2, 1, 0.9)", "exponential_decay(1e-3, 1, 0.9)", "update", "rate"),
    Bug("closure-alpha", "scale_by_rms(0.9", "scale_by_rms(0.99", "update"),
    Bug("lion-rate", "optax.lion(1e-3", "optax.lion(1e-4", "update", "rate"),
    Bug("lion-norm-epsilon", "RMSNorm(epsilon=1e-6)", "RMSNorm(epsilon=1e-3)", "forward"),
    Bug("gcn-elu", "x = nn.relu(GraphConvolution(8", "x = nn.elu(GraphConvolution(8", "forward"),
    Bug("gcn-decay-larger", "add_decayed_weights(5e-4)", "add_decayed_weights(5e-3)", "update", "decay"),
    Bug("scaler-decay", "weight_decay=0.02", "weight_decay=1e-4", "update", "decay", step=2),
    Bug(
        "scaler-clip-missing",
        "scale = jnp.minimum(1.0, 0.3 / (optax.tree.norm(grads) + 1e-6))",
        "scale = 1.0",
        "update",
        "clip",
        step=2,
    ),
    Bug(
        "twins-crossed",
        "follow(target1, q1), follow(target2, q2)",
        "follow(target1, q2), follow(target2, q1)",
        "average",
    ),
    Bug("twins-larger", "value = jnp.minimum(", "value = jnp.maximum(", "loss"),
    Bug("stacked-gates", "i, f, g, o = jnp.split", "f, i, g, o = jnp.split", "forward"),
)
