"""darwin.toml: read from the work tree, checked as a whole, never taken from a variant.

Order of precedence: the file, then ``DARWIN_SECTION__KEY`` in the environment, then flags.
"""

import difflib
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from darwin_git.domain.families import FAMILIES
from darwin_git.domain.metric import PERPLEXITY
from darwin_git.domain.metric import Metric as Objective
from darwin_git.domain.selection import RULES
from darwin_git.errors import DarwinError

FILE_NAME = "darwin.toml"
IMAGE_NAME = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
"""As engines read it; an id in hexadecimal is one, too."""
AGENT_NAME = re.compile(r"[a-z][a-z0-9]{0,15}")
_SECRET_KEY = re.compile(r"(?i)(api_?key|secret|password|passwd|credential|access_?token)$")
_SECRET_VALUE = re.compile(r"^(sk-|ghp_|github_pat_|glpat-|xox[bp]-)\S{8,}")

Scalar = bool | int | float | str
Ratio = Annotated[float, Field(ge=1.0, le=100.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Price = Annotated[float, Field(ge=0.0, le=100_000.0)]


class Section(BaseModel):
    """A table of darwin.toml: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Genome(Section):
    """What is evolved and how it is trained."""

    contract: Literal["nanogpt", "command"] = "nanogpt"
    train: tuple[str, ...] = ("train.py", "config/tiny_cpu.py")
    model: str = "model.py"
    mutable: tuple[str, ...] = ("*.py", "config/*.py")
    protected: tuple[str, ...] = ("configurator.py", "data/*", "bench.py", "sample.py")
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    overrides: dict[str, Scalar] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _any_repository(cls, data: Any) -> Any:
        """Of a repository that is no GPT nothing is known: agents may change all of it."""
        if isinstance(data, dict) and data.get("contract") == "command":
            return {"mutable": ("**",), "protected": ()} | data
        return data

    @model_validator(mode="after")
    def _train_is_a_script(self) -> Self:
        if not self.train or not self.train[0].endswith(".py"):
            raise ValueError("train must start with a Python script, as in ['train.py']")
        for path in (*self.train, self.model):
            if path.startswith("/") or ".." in Path(path).parts:
                raise ValueError(f"{path!r} must be a path inside the genome")
        return self


class Data(Section):
    """The corpus; `init` writes its checksum here."""

    corpus: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    tokenizer: Literal["characters", "bytes", "gpt2", "bpe"] = "characters"
    table: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _bpe_has_a_table(self) -> Self:
        if self.tokenizer == "bpe" and not self.table:
            raise ValueError('table is missing: `init --bpe FILE` writes it for tokenizer = "bpe"')
        return self


class Metric(Section):
    """Only with genome.contract = "command": the person's own program says what is good.

    It lies outside the genome, is mounted read-only beside each checkout and prints one JSON object
    of numbers.
    """

    program: str = ""
    command: tuple[str, ...] = ("{python}", "{judge}/judge.py")
    primary: str = Field(default="", pattern=r"^([A-Za-z_][A-Za-z0-9_.-]{0,63})?$")
    direction: Literal["min", "max"] = "min"
    scale: Literal["log", "linear"] = "log"
    seconds: float = Field(default=60.0, gt=0, le=7 * 24 * 3600)


class Budget(Section):
    """What one replicate and the whole run may spend."""

    tokens: int = Field(default=230_400, ge=1)
    flops_ratio: Ratio = 1.05
    wall_ratio: Ratio = 1.25
    wall_refuse: Ratio = 2.5
    max_parameters: int | None = Field(default=None, ge=1)
    device_hours: float | None = Field(default=None, gt=0)
    model_tokens: int | None = Field(default=None, ge=1)
    usd: float | None = Field(default=None, gt=0)


class Population(Section):
    """Who takes part and how the next generation is planned."""

    seed: int = Field(default=1, ge=0)
    baseline_seeds: int = Field(default=8, ge=2, le=64)
    crossover: Share = 0.15
    replay: Share = 0.25
    exploration: Share = 0.2


class Agent(Section):
    """One agent: a proposer with a lineage branch. Which keys it has depends on its kind."""

    kind: Literal["catalogue", "llm", "command"] = "catalogue"
    # catalogue
    families: tuple[str, ...] = ()
    # llm: any server that speaks chat completions
    model: str = Field(default="", max_length=200)
    strategy: str = Field(default="", max_length=4000)
    key_variable: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    url_variable: str = Field(default="OPENAI_BASE_URL", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    temperature: float | None = Field(default=None, ge=0, le=2)
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    context_tokens: int = Field(default=24_000, ge=1_000, le=2_000_000)
    answer_tokens: int = Field(default=8_000, ge=256, le=200_000)
    timeout: float = Field(default=300.0, gt=0, le=3600)
    retries: int = Field(default=2, ge=0, le=10)
    price: tuple[Price, Price] | None = None
    gpu: str = Field(default="", max_length=64)
    # command: any program
    command: tuple[str, ...] = ()
    program: str = ""
    image: str = ""
    network: bool = False
    seconds: float = Field(default=600.0, gt=0, le=24 * 3600)

    @field_validator("families")
    @classmethod
    def _families_are_known(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        for family in families:
            _known("family", family, sorted(FAMILIES))
        return families

    @field_validator("image")
    @classmethod
    def _image_is_a_name(cls, image: str) -> str:
        if image and not IMAGE_NAME.fullmatch(image):
            raise ValueError(f"{image!r} is no image's name, as in 'darwin-git/train:latest'")
        return image

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> Self:
        for key in sorted(self.model_fields_set - {"kind"} - _AGENT_KEYS[self.kind]):
            kinds = [kind for kind, keys in _AGENT_KEYS.items() if key in keys]
            raise ValueError(f'{key} belongs to kind = "{kinds[0]}", this agent is a {self.kind}')
        needed = {"llm": "model", "command": "command"}.get(self.kind)
        if needed and not getattr(self, needed):
            raise ValueError(f'{needed} is missing: kind = "{self.kind}" needs it')
        reserved = {"model", "messages", "stream", "n", "temperature"}
        limits = {"max_tokens", "max_completion_tokens"}  # what is reserved in the account
        for name in sorted((reserved | limits) & self.parameters.keys()):
            raise ValueError(f"parameters.{name} is ours to set")
        for name, value in sorted(self.parameters.items()):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"parameters.{name} must be a finite number")
        return self


_AGENT_KEYS: Mapping[str, frozenset[str]] = {
    "catalogue": frozenset({"families"}),
    "llm": frozenset(
        (
            *("model", "strategy", "key_variable", "url_variable", "temperature", "parameters"),
            *("context_tokens", "answer_tokens", "timeout", "retries", "price", "gpu"),
        )
    ),
    "command": frozenset({"command", "program", "image", "network", "seconds"}),
}


class Repair(Section):
    """How often a mutator may mend what it wrote."""

    attempts: int = Field(default=2, ge=0, le=10)
    answers: int = Field(default=2, ge=0, le=10)
    renewals: int = Field(default=2, ge=0, le=10)


class Memory(Section):
    """Lessons in the ledger: written after each generation, shown to mutators."""

    mode: Literal["on", "freeze", "off"] = "on"
    shown: int = Field(default=6, ge=0, le=20)
    reflect: bool = False


class Selection(Section):
    """Deciding under noise; facts and error rates stand in ARCHITECTURE.md."""

    rule: str = "truncation"
    keep: int = Field(default=6, ge=0, le=1000)
    race: tuple[int, ...] = (1,)
    race_single: float = Field(default=0.25, ge=0)
    race_drop: float = Field(default=0.2, ge=0)
    race_merge: float = Field(default=0.8, ge=0)
    race_p: float = Field(default=0.10, gt=0, lt=0.5)
    union_tries: int = Field(default=3, ge=0, le=10)
    minimise: bool = True
    scale_check: float = Field(default=4.0, ge=0, le=64)
    certificate: tuple[int, ...] = (4, 8)
    margin: float = Field(default=0.002, ge=0)
    level: float = Field(default=0.05, gt=0, lt=0.5)
    unstable: float = Field(default=3.0, gt=0)

    @field_validator("rule")
    @classmethod
    def _rule_is_known(cls, rule: str) -> str:
        _known("rule", rule, list(RULES))
        return rule

    @field_validator("scale_check")
    @classmethod
    def _a_check_is_at_a_larger_budget(cls, factor: float) -> float:
        if 0 < factor < 1:
            raise ValueError(f"{factor:g} is no larger budget; 0 or 1 switches the check off")
        return factor

    @model_validator(mode="after")
    def _dropping_is_not_merging(self) -> Self:
        if self.race_drop > self.race_merge:
            raise ValueError(
                f"race_drop = {self.race_drop} must not be above race_merge = {self.race_merge}"
            )
        return self

    @model_validator(mode="after")
    def _looks_grow(self) -> Self:
        for name, looks in (("race", self.race), ("certificate", self.certificate)):
            if not looks or list(looks) != sorted(set(looks)) or looks[0] < 1:
                raise ValueError(f"{name} must be growing numbers of seeds, as in [1, 2, 4]")
        if self.certificate[0] < 2:
            raise ValueError("certificate needs at least 2 seeds at its first look")
        return self


class Sandbox(Section):
    """The wall around training and scoring."""

    runner: Literal["auto", "docker", "process"] = "auto"
    image: str = "darwin-git/train:latest"
    engine: str = Field(default="", pattern=r"^((unix|tcp|ssh|http|https|npipe)://\S+)?$")
    runtime: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    allow_unsandboxed: bool = False
    memory_gb: float = Field(default=8.0, gt=0)
    output_gb: float = Field(default=4.0, gt=0)

    @field_validator("image")
    @classmethod
    def _image_is_a_name(cls, image: str) -> str:
        if not IMAGE_NAME.fullmatch(image):
            raise ValueError(f"{image!r} is no image's name, as in 'darwin-git/train:latest'")
        return image


class Executor(Section):
    """Slots of this machine; 0 means one for each core (or GPU)."""

    slots: int = Field(default=0, ge=0, le=1024)
    threads: int = Field(default=1, ge=1, le=256)


class Config(BaseSettings):
    """darwin.toml as a whole."""

    model_config = SettingsConfigDict(
        env_prefix="DARWIN_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    genome: Genome = Genome()
    data: Data = Data()
    metric: Metric = Metric()
    budget: Budget = Budget()
    population: Population = Population()
    agents: dict[str, Agent] = Field(
        default_factory=lambda: {f"a{n}": Agent() for n in range(1, 5)}
    )
    repair: Repair = Repair()
    memory: Memory = Memory()
    selection: Selection = Selection()
    sandbox: Sandbox = Sandbox()
    executor: Executor = Executor()

    @model_validator(mode="after")
    def _agents_are_named(self) -> Self:
        if len(self.agents) < 2:
            raise ValueError("agents: at least two, since nobody mutates its own branch")
        for name in self.agents:
            if not AGENT_NAME.fullmatch(name):
                raise ValueError(f"agents.{name}: a name is a letter and up to 15 of a-z 0-9")
        return self

    @model_validator(mode="after")
    def _command_has_a_metric(self) -> Self:
        wanted = {"metric.program": self.metric.program, "metric.primary": self.metric.primary}
        if self.genome.contract == "command":
            for name, value in wanted.items():
                if not value:
                    raise ValueError(f'{name} is missing: genome.contract = "command" needs it')
        return self

    @property
    def objective(self) -> Objective:
        """What is measured, as the domain knows it."""
        if self.genome.contract == "nanogpt":
            return PERPLEXITY
        chosen = self.metric
        return Objective(chosen.primary, chosen.direction, chosen.scale)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load(folder: Path) -> Config:
    """Read and check darwin.toml in `folder`; without one the documented defaults hold.

    Raises:
        DarwinError: all faults at once, each with its place and the nearest known key.
    """
    import tomli

    path = folder / FILE_NAME
    try:
        raw = tomli.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DarwinError(f"{path} is not valid TOML: {error}", hint="mend that line") from None
    except OSError as error:
        raise DarwinError(f"{path} cannot be read: {error.strerror}", hint="check it") from None
    faults = [f"{place}: secrets come from the environment" for place in _secrets(raw)]
    try:
        config = Config(**raw)
    except SettingsError as error:
        raise DarwinError(
            f"{_variable(error)} in the environment is not JSON",
            hint="lists and tables are written as JSON there: DARWIN_SELECTION__RACE='[1, 2]'",
        ) from None
    except ValidationError as error:
        faults += [_fault(dict(one)) for one in error.errors()]
    if faults:
        raise DarwinError(
            f"{path} has {len(faults)} fault{'s' * (len(faults) > 1)}:\n  " + "\n  ".join(faults),
            hint="correct them; `darwin-git config --defaults` prints every key with its default",
        )
    return config


_PROGRAM = re.compile(
    rb"""^(\s*program\s*=\s*)(["'])(?:[/~]|[A-Za-z]:)[^"'\n]*?([^"'/\\\n]*)\2""", re.M
)


def portable(folder: Path) -> bytes:
    """darwin.toml as it may be kept in git: absolute paths of this machine cut to their last part.

    Only programs are named by paths, and a replay runs none.
    """
    path = folder / FILE_NAME
    return _PROGRAM.sub(rb"\1\2\3\2", path.read_bytes()) if path.exists() else b""


def _known(what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise ValueError(f"{what} {name!r} is unknown; there are {', '.join(known)}")


def _variable(error: SettingsError) -> str:
    """Which variable's text is no JSON: the settings say the section only, the parser the text."""
    text = getattr(error.__cause__, "doc", None)
    ours = [name for name, value in os.environ.items() if value == text and _is_ours(name)]
    return min(ours, default="a DARWIN_ variable")


def _is_ours(name: str) -> bool:
    return name.upper().startswith("DARWIN_")


def _secrets(table: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for key, value in table.items():
        here = f"{place}.{key}" if place else key
        if isinstance(value, Mapping):
            yield from _secrets(value, here)
        elif isinstance(value, str) and (_SECRET_KEY.search(key) or _SECRET_VALUE.match(value)):
            yield here


def _fault(error: dict[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    name = ".".join(place)
    variable = f"DARWIN_{'__'.join(place)}".upper()
    if place and variable in map(str.upper, os.environ):
        name += f" ({variable} in the environment)"
    if error["type"] != "extra_forbidden":
        message = str(error["msg"]).removeprefix("Value error, ")
        return f"{name}: {message}" if name else message
    near = difflib.get_close_matches(place[-1], _keys_beside(place), n=1, cutoff=0.5)
    return f"{name}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")


def _keys_beside(place: list[str]) -> list[str]:
    if place[0] == "agents" and len(place) == 3:
        return sorted(Agent.model_fields)
    model: Any = Config
    for part in place[:-1]:
        if part not in model.model_fields:
            return []
        model = model.model_fields[part].annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)
