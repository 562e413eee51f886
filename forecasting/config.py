"""Every number of the forecasting room that one may change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from attention_apps.running.runs import check_seed

EXAMPLE = "MAPLE"
"""What the demonstration asks for: the asset that follows another after the longest time."""

EXAMPLE_BATCH = [
    [
        [[price, price + 1.0, price - 1.0, price + 0.25 * (day % 3)] for price in range(90, 98)]
        for day in range(40)
    ]
]
"""Open, high, low and close of eight assets on 40 days, in a batch of one."""

DEFAULT_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to forecast, from what, with what and how; checked when it is made."""

    dataset: str = "generated"
    """`generated` (embedded) or `files` (CSV files in --data-dir)."""
    data_dir: str = ""
    """Folder of the CSV files, or where tensorflow-datasets keeps the embedded set."""
    file: str = ""
    """One CSV file of --data-dir with a column a series; empty reads every file as an asset."""
    generated_size: str = "full"
    """Size of the generated set: `small` or `full`."""
    target: str = "returns"
    """What is forecast: `returns` (of prices), `volatility` (a day's log variance from its range)
    or `levels` (the values themselves)."""
    variance: str = "parkinson"
    """How a day's variance is read from its prices: `parkinson` or `garman_klass`."""
    context: str = "own"
    """What is read of a row beside an asset's `own` cells; `market` adds its falls by themselves
    and the market's: means over the assets of log variance, falls and returns."""
    target_columns: tuple[str, ...] = ()
    """Columns to forecast; by default the closing price, or every column of numbers."""
    past_columns: tuple[str, ...] = ()
    """Columns that are read but not forecast; their future is not known."""
    known_columns: tuple[str, ...] = ()
    """Columns whose future is known when a forecast is made."""
    static_columns: tuple[str, ...] = ()
    """Columns that tell assets apart and never change, such as a sector."""
    covariates: tuple[str, ...] = ()
    """CSV files, as seen from --data-dir, of what all series share and is not forecast, such as an
    index of volatility: FILE is its column Close or Price, FILE:COLUMN another. Joined by date,
    read in logarithms."""
    calendar: str = "none"
    """What is known of the time of a row: `none`, `weekday`, `hour` or `hour_of_week`."""
    season: int = 5
    """Rows of a season, for the seasonal floor."""
    max_gap_days: int = 31
    """Longest gap between two rows; a longer one is refused."""

    validation_share: float = 0.1
    """Share of the rows, before the test part, that chooses the model and calibrates it."""
    test_share: float = 0.2
    """Share of the rows, the latest, that figures are measured on."""
    split_rows: tuple[int, ...] = ()
    """Rows of the training, validation and test part in place of shares, from the first row on."""
    lookback: int = 32
    """Rows that a forecast reads."""
    horizon: int = 5
    """Rows that are forecast."""

    form: str = "both"
    """Attention over `time` (patches of each series), over `variables` (whole series) or `both`
    (every patch of every series at once)."""
    patch_length: int = 1
    """Rows of a patch."""
    num_layers: int = 0
    """Number of self-attention blocks."""
    dim: int = 32
    """Size of embeddings and of every block."""
    num_heads: int = 4
    """Number of attention heads."""
    feedforward_dim: int = 64
    """Size of the inner feed-forward layers."""
    time_attention: str = field(default="full", metadata={"attention": ("self",)})
    """Self-attention among patches: words of the list below, such as cosine+rotary+window:16."""
    variable_attention: str = field(default="full", metadata={"attention": ("self",)})
    """Self-attention among variables: `full` or a scoring."""
    horizon_attention: str = field(default="full", metadata={"attention": ("unplaced",)})
    """Attention of the forecast rows to the patches: `full` or a scoring."""
    dropout_rate: float = 0.1
    """Share dropped of what each half of a block adds, in training."""
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    """Levels of the quantiles that are forecast; 0.5 is among them."""

    start: str = "walk"
    """Where training starts: `walk` (the random walk), `ridge` (the linear part is the ridge
    regression that validation chooses, the rest still says nothing) or `spread` (of returns: the
    band is as wide as such a regression of the log variance says, around no change)."""
    loss: str = "pinball"
    """`pinball` (quantiles), or `squared` or `absolute` (one forecast without a distribution)."""
    epochs: int = 30
    """Most passes over the training set."""
    patience: int = 8
    """Epochs without a better validation after which training stops."""
    batch_size: int = 32
    """Windows of a training step."""
    learning_rate: float = 0.002
    """Highest learning rate."""
    warmup_share: float = 0.1
    """Share of all steps in which the learning rate rises; then it falls as a cosine to zero."""
    weight_decay: float = 0.001
    """Decoupled weight decay of AdamW."""
    average_momentum: float = 0.99
    """Momentum of the running average of weights that is validated and kept; 0 keeps none."""
    jitter: float = 0.0
    """Standard deviation of noise added to what training windows show, in their units."""
    scaling: float = 0.0
    """Spread of the factor that training windows, and their targets, are multiplied by."""
    cropping: float = 0.0
    """Largest share of the oldest rows that is hidden at random from training windows."""
    seed: int = 1
    """Decides initial weights, dropout and the order of the data."""

    departure: str = "proven"
    """`proven`: leave the random walk as far as validation proves it right; `free`: always."""
    calibration: str = "conformal"
    """`conformal`: widen or narrow quantiles to what validation shows; `none`: leave them."""
    adaptation_rate: float = 0.01
    """Step of the adaptive calibration that evaluation reports beside the fixed one."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_seed(self.seed)
        self._check_numbers()
        for name, known in (
            ("dataset", ("generated", "files")),
            ("generated_size", ("small", "full")),
            ("target", ("returns", "volatility", "levels")),
            ("variance", ("parkinson", "garman_klass")),
            ("context", ("own", "market")),
            ("calendar", ("none", "weekday", "hour", "hour_of_week")),
            ("form", ("time", "variables", "both")),
            ("start", ("walk", "ridge", "spread")),
            ("loss", ("pinball", "squared", "absolute")),
            ("departure", ("proven", "free")),
            ("calibration", ("conformal", "none")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{_flag(name)} must be {' or '.join(known)}. Received: {getattr(self, name)}"
                )
        if self.dim % self.num_heads:
            raise ValueError(
                "--dim must be a multiple of --num-heads. "
                f"Received: --dim {self.dim} --num-heads {self.num_heads}"
            )
        if self.form == "variables" and not self.num_layers:
            raise ValueError(
                "--form variables attends in self-attention blocks alone: give it --num-layers 1 "
                "or more. Received: --num-layers 0"
            )
        variables = self.form == "variables"
        unused = "time_attention" if variables else "variable_attention"
        for name in (unused, *(() if self.num_layers else ("time_attention",))):
            if getattr(self, name) != "full":
                raise ValueError(
                    f"{_flag(name)} is of no block of --form {self.form} with --num-layers "
                    f"{self.num_layers}. Received: {getattr(self, name)}"
                )
        if self.lookback % self.patch_length:
            raise ValueError(
                "--lookback must be a multiple of --patch-length. "
                f"Received: --lookback {self.lookback} --patch-length {self.patch_length}"
            )
        if self.context == "market" and self.target == "levels":
            raise ValueError(
                "--context market reads returns of assets: it goes with --target returns or "
                "volatility. Received: --target levels"
            )
        if self.start == "spread" and (self.target != "returns" or not self.levels):
            raise ValueError(
                "--start spread is of quantiles of returns: it goes with --target returns and "
                f"--loss pinball. Received: --target {self.target} --loss {self.loss}"
            )
        if self.dataset == "files" and not self.data_dir:
            raise ValueError(
                "--dataset files reads CSV files from a folder. Received: no --data-dir"
            )
        self._check_quantiles()
        if self.split_rows and (len(self.split_rows) != 3 or min(self.split_rows) < 1):
            raise ValueError(
                "--split-rows takes the rows of the training, validation and test part. "
                f"Received: {' '.join(map(str, self.split_rows))}"
            )
        roles = [*self.target_columns, *self.past_columns, *self.known_columns]
        roles += [*self.static_columns, *self.covariates]
        for name in roles:
            if roles.count(name) > 1:
                raise ValueError(f"A column has one role. Received: {name} with several")
        if self.dataset == "generated":
            self._check_roles_of_generated()

    def _check_roles_of_generated(self) -> None:
        for name in ("file", "target_columns", "known_columns", "static_columns", "covariates"):
            if getattr(self, name):
                raise ValueError(
                    f"{_flag(name)} goes with --dataset files. Received: --dataset generated"
                )
        for name in self.past_columns:
            if name.lower() != "volume":
                raise ValueError(
                    "--past-columns of the generated set may be Volume, which it holds beside its "
                    f"prices. Received: {name}"
                )

    def _check_numbers(self) -> None:
        rows = ("season", "max_gap_days", "lookback", "horizon", "patch_length", "batch_size")
        sizes = ("dim", "num_heads", "feedforward_dim", "epochs", "patience")
        for name in (*rows, *sizes):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{_flag(name)} must be at least 1. Received: {getattr(self, name)}"
                )
        for name in ("num_layers", "learning_rate", "weight_decay", "jitter", "scaling"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{_flag(name)} cannot be negative. Received: {getattr(self, name)}"
                )
        shares = ("validation_share", "test_share", "dropout_rate", "warmup_share")
        for name in (*shares, "average_momentum", "cropping", "adaptation_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{_flag(name)} must lie from 0 to below 1. Received: {getattr(self, name)}"
                )
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                "--validation-share and --test-share must leave rows to train on. "
                f"Received: {self.validation_share} and {self.test_share}"
            )

    def _check_quantiles(self) -> None:
        levels = self.quantiles
        inside = all(0 < level < 1 for level in levels)
        if not inside or 0.5 not in levels or any(a >= b for a, b in pairwise(levels)):
            raise ValueError(
                "--quantiles must rise between 0 and 1 and hold 0.5. "
                f"Received: {' '.join(map(str, levels))}"
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the forecast quantiles; none for a forecast without a distribution."""
        return self.quantiles if self.loss == "pinball" else ()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


DEMO = Config(generated_size="small", epochs=15, learning_rate=0.01)
"""Trains on the embedded data in under a minute on two cores and beats its floor."""

TINY = replace(DEMO, lookback=8, dim=16, num_heads=2, feedforward_dim=32, epochs=2)
"""Trains in about ten seconds; for tests."""
