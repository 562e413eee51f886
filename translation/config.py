"""Every number of the translation room that one may change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from attention_apps.running.runs import check_seed

EXAMPLE = "The old man, who reads the book, does not know the child."


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train on, what to train and how; checked when it is made."""

    dataset: str = "generated"
    """`generated` (embedded), `files` (NAME.LANGUAGE in --data-dir) or a translation set of
    tensorflow-datasets such as `ted_hrlr_translate/pt_to_en`."""
    data_dir: str = ""
    """Folder of the text files, or where tensorflow-datasets keeps its sets."""
    source_language: str = "en"
    """Language to translate from: the ending of its files, or its name in the set."""
    target_language: str = "de"
    """Language to translate into."""
    train_name: str = "train"
    """Name of the training split's files."""
    validation_name: str = "val"
    """Name of the validation split's files."""
    test_name: str = "test"
    """Name of the test split's files."""
    generated_size: str = "full"
    """Size of the generated set: `tiny`, `small` or `full`."""

    vocabulary_size: int = 2000
    """Number of subwords, shared by both languages."""
    max_length: int = 80
    """Longest sentence in subwords; longer training pairs are left out and counted."""
    batch_tokens: int = 3000
    """Tokens of a batch, padding included, on each side."""

    model: str = "transformer"
    """`transformer`, or `rnn`: a bidirectional recurrent encoder and a recurrent decoder that
    attends to the source in every step."""
    num_encoder_layers: int = 4
    """Number of encoder blocks; of bidirectional layers in a recurrent model."""
    num_decoder_layers: int = 4
    """Number of decoder blocks; of cells in a row in a recurrent model."""
    dim: int = 128
    """Size of embeddings and of every block; of every state in a recurrent model."""
    num_heads: int = 4
    """Number of attention heads of the Transformer; the recurrent model has one."""
    feedforward_dim: int = 256
    """Size of the inner feed-forward layers of the Transformer."""
    encoder_preset: str = ""
    """Pretrained text encoder of keras-hub, with its tokenizer: a preset's name, or a folder that
    `save_to_preset` wrote. It stands in place of the encoder blocks."""
    train_encoder: bool = True
    """Whether training changes the pretrained encoder too."""
    rnn_cell: str = "gru"
    """Cell of the recurrent model: `gru` or `lstm`."""
    input_feeding: bool = True
    """Recurrent model: let what was attended to enter the next step (Luong et al. 2015)."""
    encoder_attention: str = field(default="full", metadata={"attention": ("self",)})
    """Attention among source tokens: words of the list below, such as cosine+rotary+window:16."""
    decoder_attention: str = field(default="full", metadata={"attention": ("causal",)})
    """Attention among target tokens."""
    cross_attention: str = field(default="full", metadata={"attention": ("cross", "stepwise")})
    """Attention of target tokens to source tokens: a scoring, with or without `local-p:SIZE`;
    `additive` gives the recurrent model Bahdanau's decoder, any other scoring Luong's."""
    dropout_rate: float = 0.2
    """Share dropped of embeddings and of what each half of a block adds, in training."""

    epochs: int = 12
    """Passes over the training set."""
    self_critical_epochs: int = 0
    """Epochs behind those, in which the model translates itself and translations of the higher BLEU
    become likelier."""
    self_critical_learning_rate: float = 0.0003
    """Learning rate at the beginning of these epochs; it falls linearly to zero."""
    learning_rate: float = 0.003
    """Highest learning rate."""
    warmup_steps: int = 800
    """Steps in which the learning rate rises; then it falls with the square root of the step."""
    cooldown_share: float = 0.25
    """Share of all steps, at the end, in which the learning rate falls linearly to zero."""
    weight_decay: float = 0.0001
    """Decoupled weight decay of AdamW."""
    label_smoothing: float = 0.1
    """Share of probability spread over the whole vocabulary."""
    subword_dropout: float = 0.0
    """Share of merges left out at random when training text is split, anew in every epoch."""
    r_drop_weight: float = 0.0
    """Weight of R-Drop: every pair is seen twice, and the two predictions drawn together."""
    alignment_weight: float = field(default=0.05, metadata={"before": 0.0})
    """Weight of guided attention: one head learns the alignments that IBM model 1 finds."""
    average_momentum: float = 0.999
    """Momentum of the running average of weights that is validated and kept; 0 keeps none."""
    average_last: int = 0
    """Validate and keep the average of the weights after this many last epochs, in place of the
    running one (--average-momentum 0); 0 does not."""
    init_from: str = ""
    """Finished run whose weights and subwords to start from, to go on with other data."""
    precision: str = "float32"
    """`float32` or `mixed_bfloat16`, which is faster where the processor has it."""
    batch_parts: int = 1
    """Parts of a training batch that are computed side by side, a processor core for each; 1 shares
    out single operations. Other parts drop other units."""
    seed: int = 1
    """Decides initial weights, dropout and the order of the data."""

    validate_every: int = 2
    """Epochs between two validations."""
    patience: int = 0
    """Stop after so many validations in a row without a better BLEU; 0 never stops."""
    beam_size: int = 5
    """Hypotheses kept by beam search."""
    length_penalty: float = 1.0
    """Alpha of ((5 + length) / 6)^alpha, by which a hypothesis' log-probability is divided."""
    bleu_tokenizer: str = "none"
    """sacreBLEU's tokenizer: `none` for text that is tokenised already, `13a` for raw text."""

    @property
    def all_epochs(self) -> int:
        """Epochs of both kinds."""
        return self.epochs + self.self_critical_epochs

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_seed(self.seed)
        counts = (
            "vocabulary_size",
            "max_length",
            "batch_tokens",
            "batch_parts",
            "num_encoder_layers",
            "num_decoder_layers",
            "dim",
            "num_heads",
            "feedforward_dim",
            "validate_every",
            "beam_size",
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{_flag(name)} must be at least 1. Received: {getattr(self, name)}"
                )
        if self.epochs < (0 if self.init_from and self.self_critical_epochs else 1):
            raise ValueError(
                "--epochs must be at least 1, or 0 where --self-critical-epochs go on from "
                f"--init-from. Received: {self.epochs}"
            )
        for name in (
            "self_critical_epochs",
            "self_critical_learning_rate",
            "warmup_steps",
            "weight_decay",
            "length_penalty",
            "learning_rate",
            "r_drop_weight",
            "alignment_weight",
            "average_last",
            "patience",
        ):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{_flag(name)} cannot be negative. Received: {getattr(self, name)}"
                )
        for name in (
            "dropout_rate",
            "label_smoothing",
            "subword_dropout",
            "average_momentum",
            "cooldown_share",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{_flag(name)} must lie from 0 to below 1. Received: {getattr(self, name)}"
                )
        if self.average_last and self.average_momentum:
            raise ValueError(
                "Choose one average of weights: --average-last with --average-momentum 0, or the "
                f"running one alone. Received: --average-last {self.average_last} "
                f"--average-momentum {self.average_momentum}"
            )
        if self.self_critical_epochs and self.r_drop_weight:
            raise ValueError(
                "--r-drop-weight compares two predictions of one target; translations that the "
                "model draws are others every time. Leave out one of both. Received: "
                f"--self-critical-epochs {self.self_critical_epochs} "
                f"--r-drop-weight {self.r_drop_weight}"
            )
        if self.model == "transformer" and self.dim % self.num_heads:
            raise ValueError(
                "--dim must be a multiple of --num-heads. "
                f"Received: --dim {self.dim} --num-heads {self.num_heads}"
            )
        if self.dataset == "files" and not self.data_dir:
            raise ValueError(
                "--dataset files reads NAME.LANGUAGE text files from a folder. "
                "Received: no --data-dir"
            )
        for name, known in (
            ("model", ("transformer", "rnn")),
            ("rnn_cell", ("gru", "lstm")),
            ("precision", ("float32", "mixed_bfloat16")),
            ("generated_size", ("tiny", "small", "full")),
            ("bleu_tokenizer", ("none", "13a")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{_flag(name)} must be {' or '.join(known)}. Received: {getattr(self, name)}"
                )
        self._refuse_flags_of_the_other_model()
        self._refuse_what_a_pretrained_encoder_cannot()
        languages = {self.source_language, self.target_language}
        if self.dataset == "generated" and not languages <= {"en", "de"}:
            raise ValueError(
                "--dataset generated has English (en) and German (de). Received: "
                f"--source-language {self.source_language} --target-language {self.target_language}"
            )
        if self.source_language == self.target_language:
            raise ValueError(
                "--source-language and --target-language must differ. "
                f"Received: {self.source_language} twice"
            )

    def _refuse_flags_of_the_other_model(self) -> None:
        flags: dict[str, Any] = (
            {"rnn_cell": "gru", "input_feeding": True}
            if self.model == "transformer"
            else {"encoder_attention": "full", "decoder_attention": "full"}
        )
        for name, only in flags.items():
            if getattr(self, name) != only:
                raise ValueError(
                    f"{_flag(name)} means nothing to --model {self.model}. "
                    f"Received: {getattr(self, name)}. Leave it out"
                )

    def _refuse_what_a_pretrained_encoder_cannot(self) -> None:
        if not self.encoder_preset:
            if not self.train_encoder:
                raise ValueError(
                    "--no-train-encoder keeps the encoder of --encoder-preset as it is. "
                    "Received: no --encoder-preset"
                )
            return
        for name, only, why in (
            ("model", "transformer", "its decoder"),
            ("encoder_attention", "full", "the pretrained encoder has attention of its own"),
            ("subword_dropout", 0.0, "the preset's tokenizer splits in one way"),
        ):
            if getattr(self, name) != only:
                raise ValueError(
                    f"--encoder-preset needs {_flag(name)} {only} ({why}). "
                    f"Received: {getattr(self, name)}"
                )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


DEMO = Config(
    generated_size="small",
    vocabulary_size=1000,
    batch_tokens=4000,
    num_encoder_layers=1,
    num_decoder_layers=1,
    dim=64,
    num_heads=2,
    feedforward_dim=128,
    dropout_rate=0.1,
    epochs=4,
    warmup_steps=100,
    learning_rate=0.01,
    cooldown_share=0.6,
    average_momentum=0.98,
    validate_every=4,
    beam_size=1,
)
"""Trains on the embedded data in under a minute on two cores and beats its floor."""

TINY = replace(
    DEMO,
    generated_size="tiny",
    vocabulary_size=600,
    batch_tokens=1000,
    warmup_steps=20,
    num_encoder_layers=1,
    num_decoder_layers=1,
    dim=32,
    num_heads=2,
    feedforward_dim=64,
    epochs=2,
    validate_every=1,
    beam_size=2,
)
"""Trains in about ten seconds; for tests."""
