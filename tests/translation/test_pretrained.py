import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.running import presets
from attention_apps.running.command import UserError
from attention_apps.running.flags import RunOptions
from attention_apps.running.runs import load_run
from translation.config import TINY, Config
from translation.evaluate import evaluate
from translation.export import export
from translation.model import build_model, in_float32
from translation.preset_tokens import PresetTokens
from translation.pretrained import read_encoder
from translation.train import train
from translation.words import words_of

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the dog child read ##s sleep . , '"
SENTENCES = ["the dog, reads .", "", "the child 's sleeps ."]
LINES = ["the dog sleeps .", "the child reads .", "the dog reads .", "the child sleeps ."] * 3


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A small BERT (Devlin et al. 2019) as people keep theirs."""
    folder = tmp_path_factory.mktemp("preset")
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=WORDS.split(), lowercase=True)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=32,
    )
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


@pytest.fixture(scope="module")
def config(preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for name in ("train", "val", "test"):
        (folder / f"{name}.en").write_text("\n".join(LINES), "utf-8")
        (folder / f"{name}.de").write_text("\n".join(line.upper() for line in LINES), "utf-8")
    return Config(
        **{
            **vars(TINY),
            "dataset": "files",
            "data_dir": str(folder),
            "encoder_preset": str(preset),
            "vocabulary_size": 40,
            "max_length": 32,
            "epochs": 1,
        }
    )


def test_tokens_tell_which_word_they_belong_to(preset):
    tokens = PresetTokens(str(preset))
    ids = tokens.finish(tokens.encode_all(SENTENCES))
    texts = [tokens.pieces(row) for row in ids.to_list()]
    assert texts[0] == ["<s>", "▁the", "▁dog", ",", "▁read", "s", "▁.", "</s>"]
    assert texts[1] == ["<s>", "</s>"]
    assert words_of(texts[0]).tolist() == [-1, 0, 1, 1, 2, 2, 3, -1]
    padded = ids.to_tensor()
    numbers = tokens.word_numbers(padded).numpy()
    for row, text in zip(numbers, tokens.texts(padded).numpy(), strict=True):
        words = words_of([token.decode() for token in text])
        np.testing.assert_array_equal(row, words + 1)


def test_the_tokenizer_is_kept_with_the_run(preset, tmp_path):
    tokens = PresetTokens(str(preset))
    tokens.write(tmp_path / "kept")
    again = PresetTokens.read(tmp_path / "kept")
    again.write(tmp_path / "kept")
    assert again.encode_all(SENTENCES).to_list() == tokens.encode_all(SENTENCES).to_list()


def test_the_encoder_sees_what_the_backbone_would(preset, config):
    """Ids of words and marks, taken back, are those of the preset's own preprocessing."""
    encoder = read_encoder(config)
    encoder.build()
    tokens = PresetTokens(str(preset))
    source = tokens.finish(tokens.encode_all(["the dog reads ."])).to_tensor(shape=[None, 9])
    packed = keras_hub.models.BertTextClassifierPreprocessor.from_preset(
        str(preset), sequence_length=9
    )(tf.constant(["the dog reads ."]))
    expected = encoder.projection(encoder.backbone(packed)["sequence_output"])
    np.testing.assert_allclose(encoder(source)[:, :7], expected[:, :7], atol=1e-5)


def test_padding_of_the_source_changes_nothing(config):
    model = in_float32(build_model(config))
    source, previous = np.array([[3, 6, 7, 12, 4]], "int32"), np.array([[1, 5, 6]], "int32")
    longer = np.pad(source, ((0, 0), (0, 4)))
    short, long = (model({"source": s, "previous": previous}) for s in (source, longer))
    np.testing.assert_allclose(short, long, atol=1e-5)


def test_one_step_changes_the_encoder_unless_it_is_kept(config):
    inputs = {"source": np.array([[3, 6, 7, 12, 4]]), "previous": np.array([[1, 5, 6]])}
    for trained in (True, False):
        model = build_model(Config(**{**vars(config), "train_encoder": trained}))
        before = [w.numpy() for w in model.pretrained.backbone.weights]
        model.compile(
            keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        model.fit(inputs, np.array([[5, 6, 2]]), verbose=0)
        pairs = zip(before, model.pretrained.backbone.weights, strict=True)
        changed = [np.abs(old - new.numpy()).max() > 0 for old, new in pairs]
        # The pooled answer is not asked for: its two weights learn nothing.
        assert sum(changed) == (len(changed) - 2 if trained else 0)


@pytest.mark.verify
def test_a_run_trains_is_scored_and_exported_with_parity(config, tmp_path):
    run_dir = train(config, RunOptions(runs_dir=tmp_path))["run_dir"]
    assert "bleu" in evaluate(run_dir)["test"]["test"]
    folder = export(run_dir)
    loaded = tf.saved_model.load(str(folder)).signatures["with_attention"]
    answer = loaded(tf.constant(["the dog reads ."]))
    tokens = [token.decode() for token in answer["source_tokens"].numpy()[0]]
    assert tokens == ["<s>", "▁the", "▁dog", "▁read", "s", "▁.", "</s>"]
    model = load_run(run_dir, "translation", Config).model
    assert type(model.pretrained.backbone).__name__ == "BertBackbone"


def test_a_name_without_a_network_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(presets, "online", lambda host: False)
    with pytest.raises(UserError, match="has no network"):
        PresetTokens("bert_tiny_en_uncased")


def test_a_folder_without_a_preset_is_refused(tmp_path):
    with pytest.raises(UserError, match="--encoder-preset must name a preset"):
        PresetTokens(str(tmp_path))


def test_a_sentence_longer_than_the_encoder_reads_is_refused(config):
    with pytest.raises(UserError, match="at most the 32 tokens"):
        read_encoder(Config(**{**vars(config), "max_length": 33}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "rnn"}, "needs --model transformer"),
        ({"subword_dropout": 0.1}, "needs --subword-dropout 0.0"),
        ({"encoder_attention": "cosine"}, "needs --encoder-attention full"),
    ],
)
def test_what_a_pretrained_encoder_cannot_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Config(encoder_preset="x", **changes)
