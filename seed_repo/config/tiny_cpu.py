# Some ten seconds on one CPU core: for trying darwin-git out, and for its tests.
out_dir = "out-tiny"
eval_interval = 300
eval_iters = 1
log_interval = 50
always_save_checkpoint = True

# Characters, made by data/prepare.py.
dataset = "darwin"
gradient_accumulation_steps = 1

# Sequences in one update.
batch_size = 16

# Characters in one sequence.
block_size = 48

# Depth.
n_layer = 3

# Heads.
n_head = 4

# Width.
n_embd = 64

# A short run does not overfit.
dropout = 0.0
bias = False

# Peak of the schedule.
learning_rate = 3e-3

# End of the training.
max_iters = 300

# End of the decay.
lr_decay_iters = 300

# End of the learning rate.
min_lr = 3e-4

# Start of the schedule.
warmup_iters = 20

# On matrices and tables.
weight_decay = 0.1

# Gradients are noisy in small batches.
beta1 = 0.9

# So are their squares.
beta2 = 0.99

# Largest gradient norm.
grad_clip = 1.0

# Where.
device = "cpu"
dtype = "float32"
compile = False
