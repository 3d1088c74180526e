"""Operators on what enters at the bottom: embeddings, and what is mixed into them."""

from .anchors import Forward, forward
from .genome import Genome
from .operator import Operator
from .source import Edit, NotApplicable


def embed_norm(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    source, x = gpt.source, gpt.hidden
    if source.calls(gpt.forward, "rms_norm"):
        raise NotApplicable("something is normalised already")
    return [
        source.insert_after(
            gpt.embedded(),
            f"""
            # Every token enters at the same scale.
            {x} = F.rms_norm({x}, ({x}.size(-1),))
            """,
        )
    ]


def _table(gpt: Forward, code: str) -> Edit:
    """A new parameter below the initialisation of the modules' weights."""
    drawn = gpt.source.line(gpt.source.call(gpt.init, "self.apply"))
    return gpt.source.insert_after(drawn, code.replace("{config}", gpt.config))


def smear(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    source, x = gpt.source, gpt.hidden
    return [
        _table(
            gpt,
            """
            # How much of the previous token each channel sees: nothing at first.
            self.smear = nn.Parameter(torch.zeros({config}.n_embd))
            """,
        ),
        source.insert_before(
            gpt.loop,
            f"""
            # Bigrams need no layer then; before the first token are zeros.
            {x} = {x} + self.smear * F.pad({x}, (0, 0, 1, -1))
            """,
        ),
    ]


def bigram_embed(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    source, x, idx = gpt.source, gpt.hidden, gpt.tokens
    return [
        _table(
            gpt,
            """
            # One row for each hash of two neighbouring tokens; zeros change nothing at first.
            self.bigram_embed = nn.Parameter(torch.zeros(5003, {config}.n_embd))
            """,
        ),
        source.insert_before(
            gpt.loop,
            f"""
            # The first position pairs its token with token 0.
            pair = (F.pad({idx}, (1, -1)) * 4001 + {idx}) % self.bigram_embed.size(0)
            {x} = {x} + F.embedding(pair, self.bigram_embed)
            """,
        ),
    ]


OPERATORS = (
    Operator(
        name="embed_norm",
        family="model",
        title="Normalise the embeddings",
        why="modded-nanogpt and nanochat normalise right after embedding, together with large"
        " embeddings and other learning rates; alone it changes the stream's scale.",
        expected="worse unless initialisation and learning rates follow",
        prior_mean=0.01,
        prior_sd=0.03,
        risk="medium",
        transform=embed_norm,
    ),
    Operator(
        name="smear",
        family="model",
        title="Mix the previous token into each embedding",
        why="A one-token smear gives bigrams for nothing: in modded-nanogpt's records since"
        " September 2025; nanochat found it negligible first and adopted it later.",
        expected="better where tokens are short",
        prior_mean=-0.01,
        prior_sd=0.02,
        risk="low",
        transform=smear,
    ),
    Operator(
        name="bigram_embed",
        family="model",
        title="Embed hashed pairs of neighbouring tokens",
        why="A hashed bigram table added to the embedding: record 62 of modded-nanogpt; nanochat"
        " tried it and took it out again. More parameters, hardly more computation.",
        expected="better where tokens are short",
        prior_mean=-0.015,
        prior_sd=0.03,
        risk="medium",
        transform=bigram_embed,
    ),
)
