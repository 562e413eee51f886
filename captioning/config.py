"""Every number of the captioning room that one may change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attention_apps.running.runs import check_seed

EXAMPLE = str(Path(__file__).with_name("example.png"))
"""A scene like the embedded ones, which no split has."""
EXAMPLE_BATCH = [Path(EXAMPLE).read_bytes()]
"""What the exported model is asked for it."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train on, what to train and how; checked when it is made."""

    dataset: str = "generated"
    """`generated` (embedded), `files` (the layout of Flickr8k and Flickr30k in --data-dir) or
    `coco_captions` of tensorflow-datasets."""
    data_dir: str = ""
    """Folder of the files, or where tensorflow-datasets keeps its sets."""
    train_name: str = "train"
    """Split list of the training photos: the file whose name ends in `NAMEImages.txt`."""
    validation_name: str = ""
    """Split list of the validation photos; empty sets training photos aside."""
    test_name: str = "test"
    """Split list of the test photos."""
    validation_photos: int = 1000
    """Training photos set aside for validation where no list names any, drawn from the seed 0."""
    generated_size: str = "full"
    """Size of the generated set: `tiny`, `small` or `full`."""
    cache_dir: str = ".cache/captioning"
    """Where features of a frozen pretrained encoder are kept between runs."""

    min_word_count: int = 4
    """Words of the training captions that come less often are unknown."""
    max_length: int = 30
    """Longest caption in words, the end included; longer training captions are cut."""

    encoder: str = "cnn"
    """`cnn` (small, trained from scratch), a pretrained one of keras.applications (`mobilenet_v2`,
    `resnet50_v2`, `efficientnet_v2_b0`), or `hub:PRESET`, a backbone of keras-hub by name or
    folder."""
    encoder_weights: str = ""
    """File of the pretrained weights; empty lets Keras fetch those of ImageNet."""
    image_size: int = 64
    """Pixels of a side to which every picture is brought."""
    grid: str = "coarse"
    """Cells that are attended to: `fine` (16 pixels a side), `coarse` (32), or `both`: fine cells
    that carry the features of the coarse cell they lie in. The small CNN has its own, of 8."""
    fine_tune: bool = False
    """Train the pretrained encoder too, in place of keeping its features."""

    decoder: str = "soft"
    """`soft` or `hard`: an LSTM that attends in every step to all cells or to one (Xu et al. 2015);
    `transformer`."""
    dim: int = 192
    """Size of regions, states and blocks."""
    embedding_dim: int = 128
    """Size of the word embeddings of an LSTM; a Transformer's are of --dim."""
    num_encoder_layers: int = 0
    """Transformer blocks among the regions, before the decoder."""
    num_decoder_layers: int = 2
    """Blocks of a Transformer decoder."""
    num_heads: int = 4
    """Attention heads of Transformer blocks; an LSTM's attention has one."""
    feedforward_dim: int = 384
    """Size of the inner feed-forward layers of Transformer blocks."""
    encoder_attention: str = field(default="full", metadata={"attention": ("self",)})
    """Attention among regions: words of the list below, such as cosine."""
    decoder_attention: str = field(default="full", metadata={"attention": ("causal",)})
    """Attention among words, of a Transformer: also rotary and window:SIZE."""
    cross_attention: str = field(default="additive", metadata={"attention": ("cross", "stepwise")})
    """Attention of words to regions: a scoring, such as additive, general, scaled_dot or cosine."""
    word_asks: bool = field(default=True, metadata={"before": False})
    """LSTMs: let the word before the one that is predicted take part in where to look."""
    input_feeding: bool = field(default=True, metadata={"before": True})
    """LSTMs: let what was attended to enter the state. Without it a word can only say of the
    picture what its own step looks at."""
    dropout_rate: float = 0.3
    """Share dropped of regions, embeddings and of what predicts a word, in training."""
    word_dropout: float = 0.0
    """Share of the words read that are dropped whole in training."""
    doubly_stochastic_weight: float = 0.0
    """Weight of an LSTM's penalty `mean over cells of (1 - sum over words of weights)^2`. Where
    others sum over cells, divide their weight by the number of cells."""
    collage_share: float = 0.0
    """LSTMs: share of the training photos that get another photo's cells beside their own."""
    collage_weight: float = 0.2
    """Weight of the loss that asks words of these photos to look at their own cells."""
    hard_estimator: str = "reinforce"
    """Gradient of a sampled location: `reinforce`, or `straight_through`."""
    hard_soft_share: float = 0.5
    """Share of training batches in which hard attention is soft (Xu et al. 2015, section 4.1)."""
    hard_temperature: float = field(default=1.0, metadata={"before": 1.0})
    """Chance in where hard attention looks in training: 1 draws a cell by the weights, 0 takes the
    one of the largest weight, as in answers (with straight_through)."""
    hard_glimpse: int = field(default=1, metadata={"before": 1})
    """Cells a side that one look of hard attention takes in: 3 adds a cell's eight neighbours to
    what is read of it, not to where is looked."""
    hard_reward_weight: float = 1.0
    """Weight of the REINFORCE term."""
    hard_entropy_weight: float = 0.01
    """Weight of the entropy of the locations, which is drawn up."""

    epochs: int = 20
    """Passes over the training photos."""
    self_critical_epochs: int = 0
    """Epochs behind those, in which the model draws captions itself and those of the higher CIDEr
    become likelier."""
    self_critical_learning_rate: float = 0.0002
    """Learning rate at the beginning of these epochs; it falls linearly to zero."""
    batch_photos: int = 32
    """Photos of a batch; each brings all of its captions."""
    learning_rate: float = 0.002
    """Highest learning rate."""
    warmup_steps: int = 200
    """Steps in which the learning rate rises."""
    cooldown_share: float = 0.3
    """Share of all steps, at the end, in which the learning rate falls linearly to zero."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW."""
    label_smoothing: float = 0.1
    """Share of probability spread over the whole vocabulary."""
    clip_norm: float = 5.0
    """Largest norm of all gradients together; 0 does not clip."""
    average_momentum: float = 0.995
    """Momentum of the running average of weights that is validated and kept; 0 keeps none."""
    flips: bool = False
    """Mirror half of the training pictures, save those whose captions say left or right."""
    crops: float = 0.0
    """Largest share of a side that is cut off a training picture at random; 0 crops nothing."""
    colours: float = 0.0
    """Largest change of brightness, contrast and saturation of a training picture; 0 is none."""
    init_from: str = ""
    """Finished run whose weights and words to start from: with other photos, another loss, or hard
    attention in place of soft."""
    precision: str = "float32"
    """`float32` or `mixed_bfloat16`, which is faster where the processor has it."""
    seed: int = 1
    """Decides initial weights, dropout and the order of the data."""

    validate_every: int = 1
    """Epochs between two validations."""
    patience: int = 0
    """Stop after so many validations in a row without a better CIDEr; 0 never stops. Where there
    are self-critical epochs, theirs alone are counted."""
    beam_size: int = 3
    """Hypotheses kept by beam search."""
    length_penalty: float = 0.7
    """Alpha of ((5 + length) / 6)^alpha, by which a hypothesis' log-probability is divided."""

    @property
    def uses_pretrained(self) -> bool:
        """Whether the encoder comes with weights."""
        return self.encoder != "cnn"

    @property
    def uses_cache(self) -> bool:
        """Whether training reads features in place of pictures."""
        return self.uses_pretrained and not self.fine_tune

    @property
    def all_epochs(self) -> int:
        """Epochs of both kinds."""
        return self.epochs + self.self_critical_epochs

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_seed(self.seed)
        for name in (
            "validation_photos",
            "min_word_count",
            "max_length",
            "image_size",
            "dim",
            "embedding_dim",
            "num_decoder_layers",
            "num_heads",
            "feedforward_dim",
            "hard_glimpse",
            "batch_photos",
            "validate_every",
            "beam_size",
        ):
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
            "num_encoder_layers",
            "self_critical_epochs",
            "self_critical_learning_rate",
            "doubly_stochastic_weight",
            "collage_weight",
            "hard_temperature",
            "hard_reward_weight",
            "hard_entropy_weight",
            "learning_rate",
            "warmup_steps",
            "weight_decay",
            "clip_norm",
            "patience",
            "length_penalty",
        ):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{_flag(name)} cannot be negative. Received: {getattr(self, name)}"
                )
        for name in (
            "dropout_rate",
            "word_dropout",
            "collage_share",
            "hard_soft_share",
            "label_smoothing",
            "average_momentum",
            "cooldown_share",
            "crops",
            "colours",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{_flag(name)} must lie from 0 to below 1. Received: {getattr(self, name)}"
                )
        if self.dataset == "files" and not (self.train_name and self.test_name):
            raise ValueError(
                "--train-name and --test-name must name splits; only --validation-name may be "
                f"empty. Received: {self.train_name!r} and {self.test_name!r}"
            )
        known: dict[str, tuple[Any, ...]] = {
            "dataset": ("generated", "files", "coco_captions"),
            "generated_size": ("tiny", "small", "full"),
            "grid": ("fine", "coarse", "both"),
            "decoder": ("soft", "hard", "transformer"),
            "hard_estimator": ("reinforce", "straight_through"),
            "precision": ("float32", "mixed_bfloat16"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{_flag(name)} must be {' or '.join(values)}. Received: {getattr(self, name)}"
                )
        encoders = ("cnn", "mobilenet_v2", "resnet50_v2", "efficientnet_v2_b0")
        if self.encoder not in encoders and not self.encoder.startswith("hub:"):
            raise ValueError(
                f"--encoder must be {', '.join(encoders)} or hub:PRESET. Received: {self.encoder}"
            )
        step = 32 if self.uses_pretrained else 8
        if self.image_size % step:
            raise ValueError(
                f"--image-size must be a multiple of {step} with --encoder {self.encoder}. "
                f"Received: {self.image_size}"
            )
        if self.decoder == "transformer" and self.dim % self.num_heads:
            raise ValueError(
                "--dim must be a multiple of --num-heads. "
                f"Received: --dim {self.dim} --num-heads {self.num_heads}"
            )
        if not self.input_feeding and (self.decoder == "transformer" or not self.word_asks):
            raise ValueError(
                "--no-input-feeding is of LSTMs, whose state then reads each word before it looks. "
                f"Received: --decoder {self.decoder}"
                f"{'' if self.word_asks else ' --no-word-asks'}. Leave one out"
            )
        if self.hard_estimator == "reinforce" and self.hard_temperature != 1:
            raise ValueError(
                "REINFORCE needs cells that are drawn by their weights. Received: "
                f"--hard-temperature {self.hard_temperature:g}. Leave it out, or add "
                "--hard-estimator straight_through"
            )
        if self.hard_glimpse % 2 == 0 or (self.hard_glimpse > 1 and self.decoder != "hard"):
            raise ValueError(
                "--hard-glimpse is an odd number of cells, the one looked at in the middle, and "
                "means nothing but to --decoder hard. "
                f"Received: --decoder {self.decoder} --hard-glimpse {self.hard_glimpse}"
            )
        if self.decoder == "transformer" and self.collage_share:
            raise ValueError(
                "--collage-share means nothing to --decoder transformer. "
                f"Received: {self.collage_share}. Leave it out"
            )
        if self.dataset == "files" and not self.data_dir:
            raise ValueError(
                "--dataset files reads photos, captions and split lists from a folder. "
                "Received: no --data-dir"
            )
        if self.uses_cache and (self.flips or self.crops or self.colours):
            raise ValueError(
                "Features of a frozen encoder are kept as they are: pictures cannot be changed in "
                "training. Received: --flips, --crops or --colours. Add --fine-tune or leave it out"
            )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


DEMO = Config(
    generated_size="small",
    min_word_count=2,
    dim=96,
    embedding_dim=64,
    epochs=8,
    batch_photos=32,
    learning_rate=0.004,
    warmup_steps=50,
    dropout_rate=0.1,
    average_momentum=0.98,
    validate_every=4,
    beam_size=1,
)
"""Trains on the embedded data in two minutes on two cores and beats its floor."""

TINY = replace(
    DEMO,
    generated_size="tiny",
    dim=32,
    embedding_dim=32,
    epochs=2,
    validate_every=1,
    beam_size=2,
)
"""Trains in about ten seconds; for tests."""
