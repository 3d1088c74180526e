"""Operators on the training data: which windows, in which order, how long."""

import libcst as cst

from .genome import Genome
from .operator import Operator
from .source import Edit, NotApplicable, Source, dotted, only, walk


def _draw(source: Source) -> tuple[cst.FunctionDef, cst.Call, str, str]:
    """get_batch, its `torch.randint(count, (batch,))`, and the code of count and batch."""
    function = source.definition("get_batch")
    call = source.call(function, "randint")
    if len(call.args) != 2 or not isinstance(source.parent(call), cst.Assign):
        raise NotApplicable("the windows' starts are not simply drawn")
    count, shape = (argument.value for argument in call.args)
    if not isinstance(shape, cst.Tuple) or len(shape.elements) != 1:
        raise NotApplicable("the starts are not one row")
    return function, call, source.code(count), source.code(shape.elements[0].value)


def stratified(genome: Genome) -> list[Edit]:
    source = genome.train
    _, call, count, batch = _draw(source)
    return [
        source.insert_before(
            source.alone(call),
            f"""
            # The i-th window begins somewhere in the i-th part of the data.
            even = torch.arange({batch}) + torch.rand({batch}, dtype=torch.float64)
            """,
        ),
        source.replace(call, f"(even / {batch} * ({count})).long()"),
    ]


def aligned(genome: Genome) -> list[Edit]:
    source = genome.train
    _, call, count, batch = _draw(source)
    code = f"torch.randint(({count}) // block_size, ({batch},)) * block_size"
    return [source.replace(call, code)]


EPOCHS = '''
def epochs(count, window):
    """Starts of windows side by side, each once an epoch, every epoch from another first start."""
    while True:
        first = int(torch.randint(min(window, count), (1,)))
        starts = torch.arange(first, count, window)
        yield from starts[torch.randperm(len(starts))].tolist()


orders = {}
'''


def epoch_shuffled(genome: Genome) -> list[Edit]:
    source = genome.train
    function, call, count, batch = _draw(source)
    split = source.parameter(function, 0)
    if source.names(source.module, "orders"):
        raise NotApplicable("there is an order already")
    order = f"orders.setdefault({split}, epochs({count}, block_size))"
    return [
        source.define_before(function, EPOCHS),
        source.replace(call, f"torch.tensor([next(order) for _ in range({batch})])"),
        source.insert_before(
            source.alone(call),
            f"""
            # Made once for each split.
            order = {order}
            """,
        ),
    ]


STREAMS = '''
def streams(count, batch, window):
    """Starts for reading the data in order: each row of the batch goes through its own part."""
    step = 0
    while True:
        yield (torch.arange(batch) * (count // batch) + step * window) % count
        step += 1


readers = {}
'''


def sequential(genome: Genome) -> list[Edit]:
    source = genome.train
    function, call, count, batch = _draw(source)
    split = source.parameter(function, 0)
    if source.names(source.module, "readers"):
        raise NotApplicable("there is an order already")
    reader = f"readers.setdefault({split}, streams({count}, {batch}, block_size))"
    return [
        source.define_before(function, STREAMS),
        source.insert_before(
            source.alone(call),
            f"""
            # Made once for each split.
            reader = {reader}
            """,
        ),
        source.replace(call, "next(reader)"),
    ]


def seqlen_warmup(genome: Genome) -> list[Edit]:
    source = genome.train
    function = source.definition("get_batch")
    split = source.parameter(function, 0)
    returns = [n for n in walk(function) if isinstance(n, cst.Return)]
    end = only(returns, "return of get_batch")
    if not isinstance(end.value, cst.Tuple) or len(end.value.elements) != 2:
        raise NotApplicable("get_batch does not return a pair")
    if not source.assignments(source.module, "iter_num"):
        raise NotApplicable("the steps are not counted in iter_num")
    x, y = (dotted(element.value) for element in end.value.elements)
    if not x or not y:
        raise NotApplicable("what is returned has no names")
    return [
        source.insert_before(
            source.alone(end),
            f"""
            # Short sequences first; the loss views its targets, so they must be contiguous.
            if {split} == "train" and iter_num < max_iters // 3:
                {x} = {x}[:, : block_size // 2].contiguous()
                {y} = {y}[:, : block_size // 2].contiguous()
            """,
        )
    ]


OPERATORS = (
    Operator(
        name="stratified_batches",
        family="data",
        title="Draw each window of a batch from its own part of the data",
        why="Stratified sampling lowers the variance of a batch's gradient (Zhao & Zhang 2014,"
        " arXiv:1405.3080) where neighbouring text is alike.",
        expected="a small gain at most",
        prior_mean=-0.003,
        prior_sd=0.01,
        risk="low",
        transform=stratified,
    ),
    Operator(
        name="aligned_windows",
        family="data",
        title="Start windows at multiples of the block size",
        why="Fewer distinct windows: each token is always seen with the same context, which costs"
        " where data is repeated.",
        expected="neutral within an epoch, else worse; a control",
        prior_mean=0.004,
        prior_sd=0.01,
        risk="low",
        transform=aligned,
    ),
    Operator(
        name="epoch_shuffle",
        family="data",
        title="Visit every window once before repeating any",
        why="Shuffling without replacement covers the data evenly and converges faster than"
        " drawing with replacement (Gurbuzbalaban et al. 2015, arXiv:1510.08560).",
        expected="a small gain around one epoch",
        prior_mean=-0.005,
        prior_sd=0.012,
        risk="low",
        transform=epoch_shuffled,
    ),
    Operator(
        name="sequential_data",
        family="data",
        title="Read the data in order",
        why="Consecutive batches are alike then, which slows stochastic descent (Bengio 2012,"
        " arXiv:1206.5533, section 2.1).",
        expected="slightly worse; a control",
        prior_mean=0.008,
        prior_sd=0.015,
        risk="low",
        transform=sequential,
    ),
    Operator(
        name="seqlen_warmup",
        family="data",
        title="Train on half-length sequences for the first third",
        why="Sequence length warm-up steadies and speeds up large runs (Li et al. 2021,"
        " arXiv:2108.06084); it sees fewer tokens in as many steps.",
        expected="slightly worse at equal steps, faster",
        prior_mean=0.008,
        prior_sd=0.02,
        risk="medium",
        transform=seqlen_warmup,
    ),
)
