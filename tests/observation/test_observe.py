import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from attention_apps.attention import layers as own
from attention_apps.attention.reporting import report
from attention_apps.observation.observe import observe

BATCH, QUERY, KEY, DIM = 3, 5, 7, 16


def bits(tensor):
    return np.asarray(tensor).tobytes()


def batch(seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(BATCH, QUERY, DIM)).astype("float32")
    key = rng.normal(size=(BATCH, KEY, DIM)).astype("float32")
    mask = rng.random((BATCH, QUERY, KEY)) < 0.6
    mask[..., 0] = True
    mask[:, 2] = False  # a query that may attend to nothing
    return query, key, mask


def heads_layer(kind, dropout=0.0):
    if kind == "grouped":
        return layers.GroupQueryAttention(8, 4, 2, dropout=dropout, name="attention")
    return layers.MultiHeadAttention(4, 8, dropout=dropout, name="attention")


def model_of(kind, use):
    """A model that knows nothing of this project: attention amid what surrounds it."""
    query, key = keras.Input((QUERY, DIM)), keras.Input((KEY, DIM))
    mask = keras.Input((QUERY, KEY), dtype="bool")
    causal = use == "causal"
    if kind in ("dot", "additive"):
        layer = layers.Attention if kind == "dot" else layers.AdditiveAttention
        masks = [None, mask[:, 0]] if use == "mask" else None
        attended = layer(name="attention")([query, key], mask=masks, use_causal_mask=causal)
    else:
        layer = heads_layer(kind.removesuffix("+dropout"), 0.1 if "dropout" in kind else 0.0)
        masks = mask if use == "mask" else None
        attended = layer(query, key, attention_mask=masks, use_causal_mask=causal)
    hidden = layers.LayerNormalization()(layers.Dense(DIM)(query) + attended)
    return keras.Model([query, key, mask], layers.Dense(DIM, activation="gelu")(hidden))


KINDS = ["heads", "heads+dropout", "grouped", "grouped+dropout", "dot", "additive"]


@pytest.mark.parametrize("use", ["plain", "mask", "causal"])
@pytest.mark.parametrize("kind", KINDS)
def test_observing_changes_no_bit(kind, use):
    model, inputs = model_of(kind, use), batch()
    outputs, maps = observe(model)(inputs)
    assert bits(outputs) == bits(model(inputs))
    graph_outputs, graph_maps = tf.function(observe(model))(inputs)
    assert bits(graph_outputs) == bits(tf.function(model)(inputs))

    assert list(maps) == list(graph_maps) == ["attention"]
    weights = maps["attention"]
    assert weights.dtype == tf.float32
    assert weights.shape == (BATCH, 1 if kind in ("dot", "additive") else 4, QUERY, KEY)
    np.testing.assert_allclose(weights, graph_maps["attention"], atol=1e-6)


@pytest.mark.verify
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("use", ["plain", "mask", "causal"])
@pytest.mark.parametrize("kind", KINDS)
def test_observing_changes_no_bit_in_low_precision_and_under_xla(kind, use, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = model_of(kind, use)
    finally:
        keras.config.set_dtype_policy(before)
    inputs = batch()
    assert bits(observe(model)(inputs)[0]) == bits(model(inputs))
    for jit_compile in (False, True):
        outputs, maps = tf.function(observe(model), jit_compile=jit_compile)(inputs)
        assert bits(outputs) == bits(tf.function(model, jit_compile=jit_compile)(inputs))
        assert maps["attention"].dtype == tf.float32


@pytest.mark.parametrize("use", ["plain", "mask", "causal"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_maps_are_the_weights_that_made_the_output(kind, use):
    """Layer output, rebuilt with NumPy from the reported weights and the layer's own value."""
    query, key, mask = batch()
    causal = use == "causal"
    if kind in ("dot", "additive"):
        layer = layers.Attention() if kind == "dot" else layers.AdditiveAttention()
        layer.build([query.shape, key.shape])
        masks = [None, mask[:, 0]] if use == "mask" else None
        output, maps = observe(layer)([query, key], mask=masks, use_causal_mask=causal)
        expected = next(iter(maps.values())).numpy()[:, 0] @ key
    else:
        layer = heads_layer(kind.removesuffix("+dropout"), 0.1 if "dropout" in kind else 0.0)
        layer.build(query.shape, key.shape)
        masks = mask if use == "mask" else None
        output, maps = observe(layer)(query, key, attention_mask=masks, use_causal_mask=causal)
        weights = maps["attention"].numpy()
        value = layer._value_dense(key).numpy()
        value = np.repeat(value, weights.shape[1] // value.shape[2], axis=2)
        context = np.einsum("bhqk,bkhd->bqhd", weights, value)
        kernel, bias = (np.asarray(weight) for weight in layer._output_dense.weights)
        expected = np.einsum("bqhd,hdm->bqm", context, kernel) + bias
    np.testing.assert_allclose(output, expected, atol=1e-5)


def observed_heads(layer, *args, **kwargs):
    return next(iter(observe(layer)(*args, **kwargs)[1].values())).numpy()


def test_faults_of_stock_layers_are_shown_as_they_are():
    query, key, mask = batch()
    fused, scored = heads_layer("heads"), heads_layer("heads", dropout=0.1)
    for layer in (fused, scored):
        layer.build(query.shape, key.shape)

    # The fused path spreads an empty row over everything, the other gives it nothing.
    spread = observed_heads(fused, query, key, attention_mask=mask)
    np.testing.assert_allclose(spread[:, :, 2], 1 / KEY, rtol=1e-6)
    assert not observed_heads(scored, query, key, attention_mask=mask)[:, :, 2].any()

    # An explicit query mask is ignored.
    nobody = np.zeros((BATCH, QUERY), bool)
    ignored = observed_heads(fused, query, key, query_mask=nobody)
    np.testing.assert_allclose(ignored.sum(-1), 1, rtol=1e-5)

    # A causal layer asked with one query sees the first key only.
    one = observed_heads(fused, query[:, :1], key, use_causal_mask=True)
    first = np.eye(KEY)[0] * np.ones((BATCH, 4, 1))
    np.testing.assert_allclose(one[:, :, 0], first, rtol=1e-6)


def test_a_layer_is_left_on_the_path_it_takes_by_itself():
    """Where the paths differ, the observed output must be that of the path without scores."""
    query, key, mask = batch()
    layer = heads_layer("heads")
    layer.build(query.shape, key.shape)
    output, _ = observe(layer)(query, key, attention_mask=mask)
    other_path, _ = layer(query, key, attention_mask=mask, return_attention_scores=True)
    assert bits(output) == bits(layer(query, key, attention_mask=mask))
    assert np.abs(output - other_path).max() > 0.01


@pytest.mark.parametrize("kind", ["heads", "dot"])
def test_weights_are_those_before_dropout_and_dropout_is_not_disturbed(kind):
    query, key, _ = batch()

    def make():
        keras.utils.set_random_seed(1)
        inputs = keras.Input((QUERY, DIM)), keras.Input((KEY, DIM))
        if kind == "heads":
            attended = layers.MultiHeadAttention(4, 8, dropout=0.5)(*inputs)
        else:
            attended = layers.Attention(dropout=0.5)(list(inputs))
        return keras.Model(inputs, attended)

    plain = make()
    expected = [bits(plain([query, key], training=True)) for _ in range(2)]
    observed = observe(make())
    seen = [observed([query, key], training=True) for _ in range(2)]
    assert [bits(outputs) for outputs, _ in seen] == expected
    assert expected[0] != expected[1]  # dropout was at work
    for _, maps in seen:
        np.testing.assert_allclose(np.sum(next(iter(maps.values())), -1), 1, rtol=1e-5)


@pytest.mark.parametrize("axes", [(1, 2), (2,)])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_attention_over_several_axes_is_laid_end_to_end(axes, dropout):
    rng = np.random.default_rng(0)
    query = rng.normal(size=(2, 3, 4, DIM)).astype("float32")
    key = rng.normal(size=(2, 3, 5, DIM)).astype("float32")
    layer = layers.MultiHeadAttention(4, 8, attention_axes=axes, dropout=dropout)
    layer.build(query.shape, key.shape)
    output, maps = observe(layer)(query, key)
    weights = next(iter(maps.values())).numpy()
    value = layer._value_dense(key).numpy()
    rows = (2, 12, 15) if axes == (1, 2) else (6, 4, 5)
    assert weights.shape == (rows[0], 4, *rows[1:])
    context = np.einsum("bhqk,bkhd->bqhd", weights, value.reshape(rows[0], rows[2], 4, 8))
    expected = layer._output_dense(context.reshape(2, 3, 4, 4, 8))
    assert bits(output) == bits(layer(query, key))
    np.testing.assert_allclose(output, expected, atol=1e-5)


class Block(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.MultiHeadAttention(2, 4, name="self_attention")

    def build(self, shape):
        self.inner.build(shape, shape)
        super().build(shape)

    def call(self, inputs):
        return inputs + self.inner(inputs, inputs)

    def compute_output_shape(self, shape):
        return shape


class Twice(keras.Model):
    """Subclassed, holds its blocks in a list and uses the first twice."""

    def __init__(self):
        super().__init__()
        self.blocks = [Block(name="first"), Block(name="second")]

    def call(self, inputs):
        first, second = self.blocks
        return first(second(first(inputs)))


def sub_model(name):
    inputs = keras.Input((None, DIM))
    attended = layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    return keras.Model(inputs, attended, name=name)


def test_paths_lead_from_the_model_to_each_call_of_each_layer():
    query, _, _ = batch()
    model = Twice()
    model(query)
    maps = observe(model)(query)[1]
    assert list(maps) == [
        "first/self_attention",
        "second/self_attention",
        "first/self_attention#2",
    ]
    np.testing.assert_allclose(
        maps["first/self_attention"],
        observed_heads(model.blocks[0].inner, query, query),
        atol=1e-6,
    )

    inputs = keras.Input((QUERY, DIM))
    encoder, decoder = sub_model("encoder"), sub_model("decoder")  # equal names inside
    model = keras.Model(inputs, decoder(encoder(inputs)))
    maps = observe(model)(query)[1]
    assert list(maps) == ["encoder/attention", "decoder/attention"]
    assert bits(maps["encoder/attention"]) == bits(observed_heads(encoder, query))


class Namesakes(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.twins = [layers.Attention(name="twin"), layers.Attention(name="twin")]

    def build(self, shape):
        for twin in self.twins:
            twin.build([shape, shape])
        super().build(shape)

    def call(self, inputs):
        return self.twins[1]([self.twins[0]([inputs, inputs])] * 2)


def test_layers_of_one_name_are_kept_apart():
    query, _, _ = batch()
    inputs = keras.Input((QUERY, DIM))
    model = keras.Model(inputs, Namesakes(name="pair")(inputs))
    assert list(observe(model)(query)[1]) == ["pair/twin", "pair/twin:2"]


def test_time_distributed_gives_one_map_per_time_step():
    times = np.random.default_rng(0).normal(size=(2, 3, QUERY, DIM)).astype("float32")
    inputs = keras.Input((3, QUERY, DIM))
    model = keras.Model(inputs, layers.TimeDistributed(Block(name="block"), name="steps")(inputs))
    outputs, maps = observe(model)(times)
    assert bits(outputs) == bits(model(times))
    path = "steps/block/self_attention"
    assert list(maps) == [path, f"{path}#2", f"{path}#3"]
    block = model.get_layer("steps").layer
    for time, weights in enumerate(maps.values()):
        np.testing.assert_allclose(
            weights, observed_heads(block.inner, times[:, time], times[:, time]), atol=1e-6
        )


class Loop(keras.layers.Layer):
    """Attends inside `tf.while_loop`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.Attention(name="attention")

    def build(self, shape):
        self.attention.build([shape, shape])
        super().build(shape)

    def call(self, inputs):
        return ops.while_loop(
            lambda state, turn: turn < 2,
            lambda state, turn: (self.attention([state, state]), turn + 1),
            (inputs, 0),
        )[0]


def test_attention_inside_a_loop_is_refused_by_name_in_graphs_and_seen_in_eager_code():
    query, _, _ = batch()
    model = keras.Sequential([keras.Input((QUERY, DIM)), Loop(name="loop")])
    assert list(observe(model)(query)[1]) == ["loop/attention", "loop/attention#2"]
    with pytest.raises(ValueError, match="'loop/attention'"):
        tf.function(observe(model))(query)


class Reporting(keras.layers.Layer):
    def call(self, inputs):
        weights = ops.softmax(ops.matmul(inputs, ops.swapaxes(inputs, 1, 2)), axis=-1)
        report(self, weights[:, None])
        return ops.matmul(weights, inputs)


class ReportingHeads(layers.MultiHeadAttention):
    """Derives from a stock layer and tells other weights than Keras's path would show."""

    def call(self, query, value, key=None):
        output = super().call(query, value, key)
        report(self, ops.ones((1, 1, 1, 1)))
        return output


class ReportingInside(layers.MultiHeadAttention):
    """Reports from the very method that is looked into, and returns no weights from it."""

    def _compute_attention(self, query, key, value, *args, **kwargs):
        report(self, ops.ones((1, 1, 1, 2)))
        return super()._compute_attention(query, key, value, *args, **kwargs)


def test_layers_that_report_are_heard_and_not_heard_twice():
    query, _, _ = batch()
    inputs = keras.Input((QUERY, DIM))
    hidden = Reporting(name="toy")(inputs)
    hidden = ReportingHeads(2, 4, name="derived")(hidden, hidden)
    hidden = ReportingInside(2, 4, name="inside")(hidden, hidden)
    hidden = own.MultiHeadAttention(2, 4, name="own_heads")(hidden, hidden)
    hidden = own.Attention(name="own_single")([hidden, hidden])
    model = keras.Model(inputs, hidden)
    outputs, maps = observe(model)(query)
    assert bits(outputs) == bits(model(query))
    assert {path: tuple(weights.shape) for path, weights in maps.items()} == {
        "toy": (BATCH, 1, QUERY, QUERY),
        "derived": (1, 1, 1, 1),
        "inside": (1, 1, 1, 2),
        "own_heads": (BATCH, 2, QUERY, QUERY),
        "own_single": (BATCH, 1, QUERY, QUERY),
    }
    outputs, _ = tf.function(observe(model))(query)
    assert bits(outputs) == bits(tf.function(model)(query))


class Failing(keras.layers.Layer):
    def call(self, inputs):
        raise RuntimeError("broken on purpose")

    def compute_output_shape(self, shape):
        return shape


def test_layers_are_as_before_after_the_call_and_after_a_failed_one():
    query, key, mask = batch()
    model = model_of("heads", "plain")
    layer = model.get_layer("attention")
    before = dict(vars(layer))
    observe(model)((query, key, mask))
    assert vars(layer) == before

    inputs = keras.Input((QUERY, DIM))
    attention = layers.MultiHeadAttention(2, 4)
    failing = keras.Model(inputs, Failing()(attention(inputs, inputs)))
    before = dict(vars(attention))
    with pytest.raises(Exception, match="broken on purpose"):
        observe(failing)(query)
    assert vars(attention) == before


def test_a_method_of_the_instance_is_used_and_put_back():
    query, key, _ = batch()
    layer = heads_layer("heads")
    layer.build(query.shape, key.shape)
    original = layer._compute_attention

    def mine(*args, **kwargs):
        context, weights = original(*args, **kwargs)
        return context * 0, weights

    vars(layer)["_compute_attention"] = mine
    output, _ = observe(layer)(query, key)
    assert bits(output) == bits(layer(query, key))
    assert vars(layer)["_compute_attention"] is mine


class Gate(keras.layers.Layer):
    """Holds up whoever comes from another thread until the gate is opened."""

    def __init__(self):
        super().__init__()
        self.entered, self.open = threading.Event(), threading.Event()

    def call(self, inputs):
        if threading.current_thread() is not threading.main_thread():
            self.entered.set()
            assert self.open.wait(20)
        return inputs


def test_observers_in_two_threads_hear_their_own_calls_only():
    query, _, _ = batch()
    gate, attention = Gate(), layers.MultiHeadAttention(2, 4, name="attention")
    inputs = keras.Input((QUERY, DIM))
    passed = gate(inputs)
    model = keras.Model(inputs, attention(passed, passed))
    before = dict(vars(attention))
    heard = {}
    thread = threading.Thread(target=lambda: heard.update(observe(model)(query[:1])[1]))
    thread.start()
    assert gate.entered.wait(20)
    model(query)  # seen by nobody
    maps = observe(model)(query)[1]
    gate.open.set()
    thread.join()
    assert list(maps) == list(heard) == ["attention"]
    assert maps["attention"].shape[0] == BATCH
    assert heard["attention"].shape[0] == 1
    assert vars(attention) == before


def test_an_observed_call_inside_an_observed_call_is_heard_by_both():
    query, _, _ = batch()
    inner = sub_model("inner")
    heard = {}

    class Curious(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def call(self, inputs):
            outputs, maps = observe(self.inner)(inputs)
            heard.update(maps)
            return self.inner(outputs)

    model = Curious()
    model(query)
    maps = observe(model)(query)[1]
    assert list(heard) == ["attention"]
    assert list(maps) == ["inner/attention", "inner/attention#2"]
    assert bits(maps["inner/attention"]) == bits(heard["attention"])


def test_export_gives_the_maps_in_a_signature(tmp_path):
    model = model_of("heads", "mask")
    query, key, mask = batch()
    observed = observe(model)

    def with_attention(query, key, mask):
        outputs, maps = observed([query, key, mask])
        return {"outputs": outputs, **maps}

    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [
        tf.TensorSpec((None, QUERY, DIM), name="query"),
        tf.TensorSpec((None, KEY, DIM), name="key"),
        tf.TensorSpec((None, QUERY, KEY), tf.bool, name="mask"),
    ]
    archive.add_endpoint("plain", lambda *inputs: model(list(inputs)), signature)
    archive.add_endpoint("with_attention", with_attention, signature)
    archive.write_out(tmp_path / "1", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "1")
    answer = loaded.with_attention(query, key, mask)
    assert bits(answer["outputs"]) == bits(loaded.plain(query, key, mask))
    _, maps = observed([query, key, mask])
    np.testing.assert_allclose(answer["attention"], maps["attention"], atol=1e-6)


def test_unknown_lengths_are_no_obstacle():
    model = sub_model("any_length")
    specification = tf.TensorSpec((None, None, DIM))
    function = tf.function(observe(model), input_signature=[specification])
    for length in (3, 6):
        query = np.random.default_rng(length).normal(size=(2, length, DIM)).astype("float32")
        assert function(query)[1]["attention"].shape == (2, 2, length, length)


def test_what_cannot_be_observed_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="not built"):
        observe(Twice())
    with pytest.raises(ValueError, match="symbolic"):
        observe(sub_model("symbols"))(keras.Input((QUERY, DIM)))
