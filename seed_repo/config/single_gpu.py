# Minutes on one modern GPU: 10.6 million parameters on characters.
out_dir = "out-gpu"
eval_interval = 500
eval_iters = 100
log_interval = 20
always_save_checkpoint = True

# Characters, made by data/prepare.py.
dataset = "darwin"
gradient_accumulation_steps = 1

# Sequences in one update.
batch_size = 64

# Characters in one sequence.
block_size = 256

# Depth.
n_layer = 6

# Heads.
n_head = 6

# Width.
n_embd = 384

# A small text is seen many times.
dropout = 0.2
bias = False

# Peak of the schedule.
learning_rate = 1e-3

# End of the training.
max_iters = 2000

# End of the decay.
lr_decay_iters = 2000

# End of the learning rate.
min_lr = 1e-4

# Start of the schedule.
warmup_iters = 100

# On matrices and tables.
weight_decay = 0.1

# Averaging of gradients.
beta1 = 0.9

# Averaging of their squares.
beta2 = 0.99

# Largest gradient norm.
grad_clip = 1.0

# Where.
device = "cuda"
dtype = "bfloat16"
compile = True
