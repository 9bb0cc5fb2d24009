"""The variational autoencoder in Flax Linen, channels last: the pixels are flattened in another order."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

LAYOUT = "channels last"


class Encoder(nn.Module):
    latents: int

    @nn.compact
    def __call__(self, x):
        x = nn.elu(nn.Conv(6, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)), name="conv1")(x))
        x = nn.elu(nn.Conv(8, (3, 3), padding=((1, 1), (1, 1)), name="conv2")(x))
        x = x.reshape((x.shape[0], -1))
        moments = nn.Dense(2 * self.latents, name="moments")(x)
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return mean, logvar


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        x = nn.elu(nn.Dense(4 * 6 * 8, name="dense")(z))
        x = x.reshape((-1, 4, 6, 8))
        x = nn.ConvTranspose(
            6, (3, 3), strides=(2, 2), padding=((1, 2), (1, 2)), transpose_kernel=True, name="deconv"
        )(x)
        x = nn.elu(x)
        x = nn.Conv(1, (3, 3), padding=((1, 1), (1, 1)), name="conv")(x)
        return nn.sigmoid(x)


class VAE(nn.Module):
    latents: int = 5

    def setup(self):
        self.encoder = Encoder(self.latents)
        self.decoder = Decoder()

    def __call__(self, x, noise):
        mean, logvar = self.encoder(x)
        z = mean + jnp.exp(logvar / 2) * noise
        divergence = 0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)
        return self.decoder(z), mean, divergence


def make():
    return VAE()


def pixels_last(weight):
    """(out, channels height width) to (height width channels, out)"""
    return weight.reshape(-1, 8, 4, 6).transpose(2, 3, 1, 0).reshape(4 * 6 * 8, -1)


def weights(state):
    moments = [pixels_last(state[f"encoder.fc_{name}.weight"]) for name in ("mu", "logvar")]
    leaves = {
        "params/encoder/moments/kernel": np.concatenate(moments, axis=1),
        "params/encoder/moments/bias": np.concatenate([state["encoder.fc_mu.bias"], state["encoder.fc_logvar.bias"]]),
        "params/decoder/dense/kernel": state["decoder.fc.weight"]
        .reshape(8, 4, 6, 5)
        .transpose(3, 1, 2, 0)
        .reshape(5, -1),
        "params/decoder/dense/bias": state["decoder.fc.bias"].reshape(8, 4, 6).transpose(1, 2, 0).ravel(),
        "params/decoder/deconv/kernel": state["decoder.deconv.weight"].transpose(2, 3, 1, 0),
        "params/decoder/deconv/bias": state["decoder.deconv.bias"],
    }
    for name in ("encoder.conv1", "encoder.conv2", "decoder.conv"):
        path = "params/" + name.replace(".", "/")
        leaves[path + "/kernel"] = state[name + ".weight"].transpose(2, 3, 1, 0)
        leaves[path + "/bias"] = state[name + ".bias"]
    return leaves
