"""DQN as in CleanRL: a target network copied every three steps, Huber loss, clipping by value. PyTorch."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim


class QNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        return self.network(x)


def training(gamma=0.99, tau=1.0, frequency=3):
    torch.manual_seed(0)
    q_network = QNetwork()
    optimizer = optim.Adam(q_network.parameters(), lr=2.5e-3)
    target_network = QNetwork()
    target_network.load_state_dict(q_network.state_dict())
    global_step = 0

    def step(obs, actions, rewards, next_obs, dones):
        nonlocal global_step
        global_step += 1
        obs, actions, rewards, next_obs, dones = map(torch.as_tensor, (obs, actions, rewards, next_obs, dones))
        with torch.no_grad():
            target_max, _ = target_network(next_obs).max(dim=1)
            td_target = rewards + gamma * target_max * (1 - dones)
        old_val = q_network(obs).gather(1, actions[:, None]).squeeze()
        loss = F.smooth_l1_loss(td_target, old_val)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(q_network.parameters(), 0.05)
        optimizer.step()
        if global_step % frequency == 0:
            for target_param, q_param in zip(target_network.parameters(), q_network.parameters(), strict=True):
                target_param.data.copy_(tau * q_param.data + (1.0 - tau) * target_param.data)
        return loss

    return q_network, step
