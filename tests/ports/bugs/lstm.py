"""Bugs planted in `lstm_torch.py` and `lstm_jax.py`."""

from tests.ports.bugs.bug import jax_bug

BUGS = (
    jax_bug(
        "lstm-output-for-memory",
        "(memory, _), y = self.second(y)",
        "(_, memory), y = self.second(y)",
        ("return self.fc(last), c[-1]", "out, (_, c) = self.lstm(x)"),
        ("return self.classifier(y), memory", "(_, memory), y = self.second(y)"),
    ),
    jax_bug(
        "lstm-first-step",
        "y = y[:, -1]",
        "y = y[:, 0]",
        ("last = out[:, -1]", "return self.fc(last), c[-1]"),
        ("y = y[:, 0]", "return self.classifier(y), memory"),
        "last",
    ),
    jax_bug(
        "lstm-second-layer-reversed",
        "self.second = nn.RNN(nn.OptimizedLSTMCell(self.hidden), return_carry=True)",
        "self.second = nn.RNN(nn.OptimizedLSTMCell(self.hidden), return_carry=True, reverse=True, keep_order=True)",
        "out, (_, c) = self.lstm(x)",
        ("(memory, _), y = self.second(y)", "reverse=True, keep_order=True)"),
        "revers",
    ),
)
