"""A variational autoencoder: an image and its noise; the picture, the mean and the divergence come out."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    rng = np.random.default_rng(8)
    return rng.random((3, 1, 8, 12)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)


class Encoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.fc_mu = nn.Linear(8 * 4 * 6, latent)
        self.fc_logvar = nn.Linear(8 * 4 * 6, latent)

    def forward(self, x):
        x = F.elu(self.conv1(x))
        x = F.elu(self.conv2(x))
        x = torch.flatten(x, 1)
        return self.fc_mu(x), self.fc_logvar(x)


class Decoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.fc = nn.Linear(latent, 8 * 4 * 6)
        self.deconv = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.conv = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, z):
        x = F.elu(self.fc(z)).view(-1, 8, 4, 6)
        x = F.elu(self.deconv(x))
        return torch.sigmoid(self.conv(x))


class VAE(nn.Module):
    def __init__(self, latent=5):
        super().__init__()
        self.encoder = Encoder(latent)
        self.decoder = Decoder(latent)

    def forward(self, x, noise):
        mu, logvar = self.encoder(x)
        std = torch.exp(0.5 * logvar)
        z = mu + noise * std
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)
        return self.decoder(z), mu, kl


def make():
    torch.manual_seed(0)
    return VAE()
