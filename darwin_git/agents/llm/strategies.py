"""What an agent looks for: built-in strategies, by the name that darwin.toml gives."""

from darwin_git.domain.quoting import clean

STRATEGIES = {
    "optimizer": """\
Look at how weights are updated: the optimizer and its constants, parameter groups and their \
learning rates, the schedule, weight decay, gradient clipping, initialisation. In a short training \
the speed of the first steps decides, so ask what holds them back: the warm-up, a peak that is too \
low, one rate for parameters of different kinds. Leave the architecture as it is.""",
    "architecture": """\
Look at what the network computes: attention, positions, normalisation, activation, residual \
paths, the output head, depth against width. Every parameter and every operation is paid for with \
training steps, so prefer what learns more from each token at the same cost. A new part that \
starts as the identity rarely breaks a training.""",
    "data": """\
Look at what each step sees: how windows are drawn, batch size against number of steps, context \
length over the course of the training, accumulation, dropout. The number of training tokens is \
fixed, so smaller batches mean more updates. The held-out windows keep the baseline's length. The \
text itself cannot be changed.""",
    "simplify": """\
Look for what can be taken away: code, parameters, operations and settings that do not earn their \
cost. What a network cannot use in so few steps only slows its learning, and cost that is saved \
leaves room for the others' ideas. A mutation that loses nothing and removes a part is a \
success.""",
}

DEFAULT = """\
Choose the one change that you expect to lower the held-out loss most, given what was tried \
before. Prefer changes whose effect is larger than the noise to fine tuning of numbers."""


def strategy(chosen: str) -> str:
    """The text of a strategy: a built-in one's, the default where empty, else the user's words."""
    return STRATEGIES.get(chosen.strip(), clean(chosen).strip()) or DEFAULT
