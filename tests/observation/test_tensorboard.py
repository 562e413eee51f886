import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from tensorflow.python.framework.config import disable_op_determinism

from attention_apps.attention.blocks import EncoderBlock
from attention_apps.observation.events import read_records
from attention_apps.observation.gradients import GradientNorm
from attention_apps.observation.head_health import head_gradient_norms
from attention_apps.observation.observe import observe
from attention_apps.observation.record import AttentionRecord, Axis
from attention_apps.observation.states import observe_states
from attention_apps.observation.tensorboard import AttentionLog

# Keras saves with an idiom that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LENGTH, DIM, EXAMPLES = 5, 8, 16
FIGURES = {
    "relative_entropy",
    "largest_weight",
    "attention_distance",
    "head_similarity",
    "gold_error",
    "gold_argmax_error",
    "query_independence",
    "nearest_head_similarity",
    "sink_mass",
    "logit_range",
}
OF_SEVERAL_HEADS = {"head_similarity", "nearest_head_similarity"}


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(EXAMPLES, LENGTH, DIM)).astype("float32"), rng.integers(
        3, size=EXAMPLES
    )


def make_model(optimizer=None, jit_compile=False):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((LENGTH, DIM))
    hidden = layers.MultiHeadAttention(2, 4, dropout=0.2, name="first")(inputs, inputs)
    hidden = layers.Attention(name="second")([hidden, inputs])
    outputs = layers.Dense(3)(layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(hidden)))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(1e-2), loss, jit_compile=jit_compile)
    return model


def probe(model, num_examples=2):
    """Two examples of both layers."""
    _, maps = observe(model)(data()[0][:num_examples])
    words = Axis(tuple(f"word{index}" for index in range(LENGTH)))
    return [
        AttentionRecord(
            weights[example].numpy(), path, words, words, gold=np.eye(LENGTH), title=f"{example}"
        )
        for path, weights in maps.items()
        for example in range(num_examples)
    ]


def answers(model):
    return [f"class {label}" for label in np.argmax(model(data()[0][:2]), -1)]


def fit(model, log=None, epochs=2, initial_epoch=0, callbacks=()):
    return model.fit(
        *data(),
        batch_size=8,
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[*callbacks, *([log] if log else [])],
    )


def load(log_dir):
    accumulator = EventAccumulator(
        str(log_dir), tensor_size_guidance={"scalars": 0, "attention": 0}
    )
    accumulator.Reload()
    return accumulator


def scalars(log_dir, tag):
    return {
        event.step: float(make_ndarray(event.tensor_proto)) for event in load(log_dir).Tensors(tag)
    }


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A folder with the log of two epochs and a checkpoint, the model, its probe per epoch."""
    folder, model, seen = tmp_path_factory.mktemp("run"), make_model(), []
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.extend(probe(model))),
        keras.callbacks.ModelCheckpoint(folder / "model.keras"),
    ]
    fit(model, AttentionLog(folder, probe, answers=answers, num_pictured=1), callbacks=callbacks)
    return folder, model, seen


def test_everything_is_where_tensorboard_looks_for_it(watched):
    log_dir, model, _ = watched
    log = load(log_dir)
    assert set(log.PluginTagToContent("scalars")) == {
        *(f"{figure}/first" for figure in FIGURES),
        *(
            f"{figure}/second"
            for figure in FIGURES - {"head_similarity", "nearest_head_similarity"}
        ),
        "training/learning_rate",
        "training/gradient_norm",
        "head_gradient_ratio/first",
        "attention_log/seconds",
    }
    assert set(log.PluginTagToContent("images")) == {
        "attention_map/first/0",
        "heads/first/0",
        "attention_map/second/0",  # has one head
    }
    assert set(log.PluginTagToContent("text")) == {"answers", "alarms"}
    assert set(log.PluginTagToContent("attention")) == {
        f"attention/{layer}/{title}" for layer in ("first", "second") for title in "01"
    }
    for tag in log.Tags()["tensors"]:
        assert [event.step for event in log.Tensors(tag)] == [0, 1], tag
    width, height, picture = make_ndarray(log.Tensors("heads/first/0")[0].tensor_proto)
    assert tf.io.decode_png(picture).shape == (int(height), int(width), 3)
    (text,) = make_ndarray(log.Tensors("answers")[1].tensor_proto).reshape(-1)
    assert text.decode() == "\n".join(f"- {answer}" for answer in answers(model))
    assert scalars(log_dir, "attention_log/seconds")[0] > 0


def test_records_and_figures_are_those_of_the_model_at_that_epoch(watched):
    log_dir, _, seen = watched
    for record, expected in zip(read_records(log_dir), seen, strict=True):
        assert (record.layer, record.title) == (expected.layer, expected.title)
        np.testing.assert_allclose(record.weights, expected.weights, atol=1e-3)
    last = [record.weights.max(-1).mean() for record in seen[4:] if record.layer == "second"]
    assert scalars(log_dir, "largest_weight/second")[1] == pytest.approx(np.mean(last))


def test_a_model_saved_while_it_was_watched_is_whole_and_unwatched(watched):
    log_dir, model, _ = watched
    loaded = keras.models.load_model(log_dir / "model.keras")
    for mine, its in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(mine, its)
    assert "apply" not in vars(loaded.optimizer)


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda: keras.optimizers.Adam(1e-2, global_clipnorm=0.5),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)),
    ],
)
def test_training_is_the_same_bit_for_bit(tmp_path, make_optimizer):
    def train(log):
        model = make_model(make_optimizer())
        history = fit(model, log).history
        weights = [*model.variables, *model.optimizer.variables]  # seeds of dropout, too
        return history, [np.asarray(weight).tobytes() for weight in weights]

    assert train(None) == train(AttentionLog(tmp_path, probe, answers=answers))


@pytest.mark.verify
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_training_is_the_same_bit_for_bit_under_xla_and_in_low_precision(tmp_path, policy):
    # A run that another test trained asked for determinism, with which Keras drops XLA.
    disable_op_determinism()

    def train(log, jit_compile):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            model = make_model(jit_compile=jit_compile)
        finally:
            keras.config.set_dtype_policy(before)
        history = fit(model, log, epochs=3).history
        weights = [*model.variables, *model.optimizer.variables]
        return history, [np.asarray(weight).tobytes() for weight in weights]

    for jit_compile in (False, True):
        log = AttentionLog(tmp_path / str(jit_compile), probe)
        assert train(None, jit_compile) == train(log, jit_compile)


def gradient_norm_by_hand(model, inputs, labels):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=labels, y_pred=model(inputs, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    squares = [np.sum(np.square(tf.convert_to_tensor(gradient))) for gradient in gradients]
    return np.sqrt(np.sum(squares))


def embedding_model(optimizer):
    """Every row of the embedding gets several gradients."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6,), dtype="int32")
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Embedding(4, 8)(inputs))))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    return model


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda: keras.optimizers.SGD(0.0, global_clipnorm=1e-3),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0), 2.0**8),
    ],
)
def test_the_gradient_norm_is_that_of_the_loss_before_clipping_and_scaling(
    tmp_path, make_optimizer
):
    model = embedding_model(make_optimizer())  # It does not learn: the norm stays the same.
    rng = np.random.default_rng(0)
    inputs, labels = rng.integers(4, size=(4, 6)), rng.integers(3, size=4)
    expected = gradient_norm_by_hand(model, inputs, labels)
    log = AttentionLog(tmp_path, lambda model: [])
    model.fit(inputs, labels, batch_size=4, epochs=2, verbose=0, callbacks=[log])
    measured = scalars(tmp_path, "training/gradient_norm")
    assert measured == pytest.approx({0: expected, 1: expected}, rel=1e-4)


def test_a_loss_scale_that_the_optimizer_holds_itself_is_undone():
    optimizer = keras.optimizers.SGD(0.0, loss_scale_factor=64.0)
    model = make_model(optimizer)
    norm = GradientNorm()
    norm.attach(model)
    weights = model.trainable_variables
    optimizer.apply([tf.ones_like(weight) * 64 for weight in weights], weights)
    assert norm.take() == pytest.approx(np.sqrt(sum(np.prod(weight.shape) for weight in weights)))
    assert norm.take() is None


def test_the_speed_of_heads_is_that_of_their_gradients():
    inputs, labels = data()
    hidden = layers.MultiHeadAttention(2, 4, name="first")(x := keras.Input((LENGTH, DIM)), x)
    model = keras.Model(x, layers.Dense(3)(layers.Flatten()(hidden)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0)), loss)
    kernel = model.get_layer("first").query_dense.kernel
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=labels, y_pred=model(inputs))
    expected = head_gradient_norms(tape.gradient(loss, kernel.value).numpy())
    measured = GradientNorm()
    measured.attach(model)
    model.train_on_batch(inputs, labels)
    (norms,) = measured.take_heads().values()
    measured.detach(model)
    assert expected.shape == (2,)
    np.testing.assert_allclose(norms, expected, rtol=1e-3)
    assert not any(norms.any() for norms in measured.take_heads().values())


def test_states_are_measured_and_alarms_are_told(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((LENGTH, DIM))
    block = EncoderBlock(num_heads=2, key_dim=4, feedforward_dim=8, name="block")
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(block(inputs))))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    same = np.ones((2, LENGTH, DIM), "float32")
    log = AttentionLog(
        tmp_path, lambda model: [], states=lambda model: observe_states(model)(same)[1]
    )
    fit(model, log, epochs=1)
    assert scalars(tmp_path, "token_similarity/block")[0] == pytest.approx(1, abs=1e-5)
    (text,) = make_ndarray(load(tmp_path).Tensors("alarms")[0].tensor_proto).reshape(-1)
    assert "block: token_similarity 1, above 0.95: over-smoothing" in text.decode()


def test_the_learning_rate_of_a_schedule_is_followed(tmp_path):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
    fit(make_model(keras.optimizers.SGD(schedule)), AttentionLog(tmp_path, lambda model: []))
    rates = scalars(tmp_path, "training/learning_rate")
    assert rates == pytest.approx({0: 0.1, 1: 0.01})


def test_a_model_trained_before_is_measured_too_and_left_as_it_was(tmp_path):
    model = make_model()
    fit(model, epochs=1)
    before = dict(vars(model.optimizer))
    fit(model, AttentionLog(tmp_path, lambda model: []), epochs=2, initial_epoch=1)
    assert set(scalars(tmp_path, "training/gradient_norm")) == {1}
    assert vars(model.optimizer).keys() == before.keys()
    assert model.optimizer.apply == type(model.optimizer).apply.__get__(model.optimizer)
    assert model.train_function is None  # traced anew, without measurement, by the next fit


class Breaks(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_a_broken_run_resumed_in_its_folder_counts_each_epoch_once(tmp_path):
    model = make_model()
    log = AttentionLog(tmp_path / "log", probe, num_pictured=0)
    with pytest.raises(KeyboardInterrupt):
        fit(model, log, epochs=4, callbacks=[Breaks()])
    fit(model, log, epochs=3)  # from the beginning, with the same callback
    fit(
        model, AttentionLog(tmp_path / "log", probe, num_pictured=0), epochs=4, initial_epoch=1
    )  # with another
    found = load(tmp_path / "log")
    for tag in found.Tags()["tensors"]:
        assert [event.step for event in found.Tensors(tag)] == [0, 1, 2, 3], tag
    expected = {(record.layer, record.title): record.weights for record in probe(model)}
    for record in read_records(tmp_path)[-4:]:
        np.testing.assert_allclose(record.weights, expected[record.layer, record.title], atol=1e-3)


def test_it_looks_where_every_so_many_epochs_are_validated_and_at_the_last(tmp_path):
    fit(make_model(), AttentionLog(tmp_path, probe, every=3, num_pictured=0), epochs=7)
    assert set(scalars(tmp_path, "largest_weight/first")) == {2, 5, 6}
    assert set(scalars(tmp_path, "training/gradient_norm")) == set(range(7))


def test_what_makes_no_sense_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every=0"):
        AttentionLog(tmp_path, probe, every=0)
    with pytest.raises(ValueError, match="num_pictured=-1"):
        AttentionLog(tmp_path, probe, num_pictured=-1)
    twins = AttentionLog(tmp_path, lambda model: [probe(model)[0]] * 2)
    with pytest.raises(ValueError, match="told apart by their titles"):
        fit(make_model(), twins)
