"""Every number of the recommendation room that one may change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from attention_apps.running.runs import check_seed

ROOM = "recommendation"
EXAMPLE = (
    "A Murder in Odessa; The Silent Voyage; A Song in Porto; A Letter in Turin; "
    "Inside Halcyon Pictures, Part 5"
)
"""A history that asks for a sequel (see `synthetic.py`), as the shell takes it."""
EXAMPLE_BATCH = [["f9", "f1", "f3"]]
"""Some history, as the SavedModel takes it: item ids."""

MODELS = ("sasrec", "bert4rec")
LOSSES = ("softmax", "sampled_softmax", "gbce", "bce")
SPLITS = ("leave_one_out", "time")
TARGETS = ("first", "last", "successive")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train on, what to train and how; checked when it is made."""

    dataset: str = "generated"
    """`generated` (embedded), `files` (in --data-dir) or a set of tensorflow-datasets with ratings,
    such as `movielens/1m-ratings`."""
    data_dir: str = ""
    """Folder of the files, or where tensorflow-datasets keeps its sets."""
    interactions_name: str = "interactions.csv"
    """File of `user item [rating] [timestamp]`, with spaces, tabs, commas or `::` between them,
    with or without a line of names; plain or .gz."""
    items_name: str = ""
    """File of `item title [genres]`; without it an item is called by its id."""
    users_name: str = ""
    """File of users with a line of names, e.g. `user,age,gender`: groups to be told apart."""
    generated_size: str = "full"
    """Size of the generated set: `small` or `full`."""

    split: str = "leave_one_out"
    """`leave_one_out` (a user's last item is the test, the one before it the validation) or `time`
    (one cut in time for all)."""
    test_share: float = 0.1
    """Share of all interactions, the latest, behind the cut in time."""
    validation_share: float = 0.05
    """Share of the interactions before that cut which lie behind the validation's own cut."""
    target: str = "last"
    """Of a cut in time, what is to be predicted: a user's `first` or `last` interaction behind it,
    or the `successive` ones (at most 50)."""

    model: str = "sasrec"
    """`sasrec` (every item predicts the next) or `bert4rec` (hidden items are guessed from both
    sides)."""
    max_length: int = 50
    """Most items of a history that are read, the latest."""
    num_blocks: int = 2
    """Number of Transformer blocks."""
    dim: int = 64
    """Size of embeddings and of every block."""
    num_heads: int = 2
    """Number of attention heads."""
    feedforward_dim: int = 128
    """Size of the inner feed-forward layers."""
    attention: str = field(default="full", metadata={"attention": ("causal", "self")})
    """Attention among items: words of the list below, such as cosine+rotary+window:16."""
    item_vectors: str = "transitions"
    """What the vectors of items begin as: `transitions` (what follows what, factorised: fewer
    epochs) or `random`."""
    time_bias: bool = False
    """Let attention know how long ago an item was taken, by a learned bias; needs times."""
    dropout_rate: float = 0.2
    """Share dropped of embeddings and of what each half of a block adds, in training."""
    attention_dropout_rate: float = 0.0
    """Share dropped of the attention weights in training."""
    mask_rate: float = 0.2
    """Share of items that are hidden when bert4rec trains."""

    loss: str = "softmax"
    """`softmax` (over the whole catalogue), `sampled_softmax` (with logQ correction), `gbce` or
    `bce`."""
    num_negatives: int = 256
    """Negatives of sampled_softmax and gbce, which all items of a batch share; bce has one an
    item."""
    negatives: str = "uniform"
    """Negatives are drawn `uniform` or by `popularity`."""
    cosine: bool = False
    """Compare directions alone in sampled_softmax: cosines over --temperature."""
    temperature: float = 1.0
    """What the scores of sampled_softmax are divided by; 0.05 goes with --cosine."""
    calibration: float = 0.75
    """`t` of gbce: 0 is bce, 1 is calibrated as the full softmax."""

    epochs: int = 20
    """Passes over the training users."""
    batch_tokens: int = 3200
    """Items of a batch, padding included."""
    learning_rate: float = 0.004
    """Highest learning rate."""
    warmup_steps: int = 300
    """Steps in which the learning rate rises; then it falls with the square root of the step."""
    cooldown_share: float = 0.5
    """Share of all steps, at the end, in which the learning rate falls linearly to zero."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW."""
    average_momentum: float = 0.98
    """Momentum of the running average of weights that is validated and kept; 0 keeps none."""
    patience: int = 10
    """Validations in a row without a better one, after which the training stops; 0 never stops."""
    init_from: str = ""
    """Finished run to go on from with new interactions: its items keep their vectors, new items
    get some of their own."""
    precision: str = "float32"
    """`float32` or `mixed_bfloat16`, which is faster where the processor has it."""
    seed: int = 1
    """Decides initial weights, dropout, negatives and the order of the data."""

    validate_every: int = 5
    """Epochs between two validations."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_seed(self.seed)
        counts = (
            "max_length",
            "num_blocks",
            "dim",
            "num_heads",
            "feedforward_dim",
            "num_negatives",
            "epochs",
            "batch_tokens",
            "validate_every",
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{_flag(name)} must be at least 1. Received: {getattr(self, name)}"
                )
        for name in ("warmup_steps", "weight_decay", "learning_rate", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{_flag(name)} cannot be negative. Received: {getattr(self, name)}"
                )
        for name in (
            "dropout_rate",
            "attention_dropout_rate",
            "average_momentum",
            "cooldown_share",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{_flag(name)} must lie from 0 to below 1. Received: {getattr(self, name)}"
                )
        for name in ("test_share", "validation_share", "mask_rate"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"{_flag(name)} must lie between 0 and 1. Received: {getattr(self, name)}"
                )
        if not 0 <= self.calibration <= 1:
            raise ValueError(f"--calibration must lie from 0 to 1. Received: {self.calibration}")
        if self.temperature <= 0:
            raise ValueError(f"--temperature must be above 0. Received: {self.temperature}")
        if self.dim % self.num_heads:
            raise ValueError(
                "--dim must be a multiple of --num-heads. "
                f"Received: --dim {self.dim} --num-heads {self.num_heads}"
            )
        if self.batch_tokens < self.max_length:
            raise ValueError(
                "--batch-tokens must hold at least one history of --max-length items. "
                f"Received: --batch-tokens {self.batch_tokens} --max-length {self.max_length}"
            )
        if self.max_length < 2:
            raise ValueError(
                "--max-length must be at least 2: an item and what it predicts. "
                f"Received: {self.max_length}"
            )
        if self.dataset == "files" and not self.data_dir:
            raise ValueError(
                "--dataset files reads --interactions-name from a folder. Received: no --data-dir"
            )
        for name, known in (
            ("model", MODELS),
            ("loss", LOSSES),
            ("split", SPLITS),
            ("target", TARGETS),
            ("negatives", ("uniform", "popularity")),
            ("item_vectors", ("transitions", "random")),
            ("precision", ("float32", "mixed_bfloat16")),
            ("generated_size", ("small", "full")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{_flag(name)} must be {' or '.join(known)}. Received: {getattr(self, name)}"
                )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


DEMO = Config(
    generated_size="small",
    max_length=40,
    epochs=16,
    batch_tokens=2000,
    warmup_steps=60,
    learning_rate=0.005,
    average_momentum=0.97,
    validate_every=4,
)
"""Trains on the embedded data in under a minute on two cores and beats its floors."""

TINY = replace(
    DEMO,
    max_length=16,
    dim=16,
    num_heads=2,
    feedforward_dim=32,
    epochs=2,
    validate_every=1,
)
"""Trains in about ten seconds; for tests."""
