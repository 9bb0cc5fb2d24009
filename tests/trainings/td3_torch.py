"""TD3 as in CleanRL: two critics, a delayed actor, targets that follow. Noise is given. PyTorch."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(7, 8), nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, x, a):
        x = F.relu(self.fc1(torch.cat([x, a], 1)))
        return self.fc3(F.relu(self.fc2(x)))


class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc_mu = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, x):
        return torch.tanh(self.fc_mu(F.relu(self.fc1(x))))


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor, self.qf1, self.qf2 = Actor(), Critic(), Critic()
        self.target_actor, self.qf1_target, self.qf2_target = map(copy.deepcopy, (self.actor, self.qf1, self.qf2))

    def forward(self, x, a):
        return self.qf1(x, a), self.qf2(x, a)


def training(gamma=0.99, tau=0.05, policy_frequency=2):
    torch.manual_seed(2)
    agent = Agent()
    q_optimizer = optim.Adam(list(agent.qf1.parameters()) + list(agent.qf2.parameters()), lr=3e-3)
    actor_optimizer = optim.Adam(list(agent.actor.parameters()), lr=3e-3)
    global_step = 0

    def step(*batch):
        nonlocal global_step
        obs, actions, rewards, next_obs, dones, noise = map(torch.as_tensor, batch)
        with torch.no_grad():
            next_actions = (agent.target_actor(next_obs) + noise.clamp(-0.5, 0.5)).clamp(-1, 1)
            q1, q2 = agent.qf1_target(next_obs, next_actions), agent.qf2_target(next_obs, next_actions)
            next_q = rewards.flatten() + (1 - dones.flatten()) * gamma * torch.min(q1, q2).view(-1)
        qf1_a, qf2_a = (q.view(-1) for q in agent(obs, actions))
        qf_loss = F.mse_loss(qf1_a, next_q) + F.mse_loss(qf2_a, next_q)
        q_optimizer.zero_grad()
        qf_loss.backward()
        q_optimizer.step()
        if global_step % policy_frequency == 0:
            actor_loss = -agent.qf1(obs, agent.actor(obs)).mean()
            actor_optimizer.zero_grad()
            actor_loss.backward()
            actor_optimizer.step()
            for net, target in (
                (agent.actor, agent.target_actor),
                (agent.qf1, agent.qf1_target),
                (agent.qf2, agent.qf2_target),
            ):
                for param, target_param in zip(net.parameters(), target.parameters(), strict=True):
                    target_param.data.copy_(tau * param.data + (1 - tau) * target_param.data)
        global_step += 1
        return qf_loss

    return agent, step
