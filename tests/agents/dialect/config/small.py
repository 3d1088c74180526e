# ruff: noqa
# An earlier thought,
batch_size = 4
# and the one that counts.
batch_size = 8; block_size = 16
n_layer, unused = 2, None
n_head = 2
n_embd = 32
dropout = 0.1
learning_rate = 1e-3  # the peak
min_lr = learning_rate / 10
warmup_iters = 2
lr_decay_iters = max_iters = 20
beta2 = 0.98
device = 'cpu'
