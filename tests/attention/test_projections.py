"""Projections as one product of two matrices, against the layers that they are."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention.projections import by_row

RNG = np.random.default_rng(0)
INPUT = RNG.normal(size=(2, 3, 5)).astype("float32")
HEADS = RNG.normal(size=(2, 3, 4, 5)).astype("float32")


class Doubled(keras.layers.EinsumDense):
    """A projection that does more than its kernel says."""

    def call(self, inputs, training=None):
        return 2 * super().call(inputs)


def dense(equation="abc,cde->abde", output=(None, 4, 6), layer=keras.layers.EinsumDense, **options):
    options = {"bias_axes": equation.split(">")[1][2:], "bias_initializer": "normal", **options}
    keras.utils.set_random_seed(1)
    return layer(equation, output, **options)


@pytest.mark.parametrize(
    ("made", "tensor"),
    [
        (dense(), INPUT),
        (dense(bias_axes=None), INPUT),
        (dense(bias_axes="e"), INPUT),
        (dense(activation="softmax"), INPUT),
        (dense("abcd,cde->abe", (None, 6)), HEADS),
        (dense(layer=Doubled), INPUT),
        (dense(layer=Doubled), INPUT[:1]),
        # The last axis alone is contracted, and is as long as the one before it.
        (dense("abcd,def->abcef", (None, 4, 5, 3)), HEADS),
        (dense("abcd,def->abcef", (None, 5, 5, 3)), RNG.normal(size=(2, 3, 5, 5)).astype("f4")),
    ],
    ids=[
        "heads",
        "no bias",
        "a bias of dim",
        "softmax",
        "output",
        "subclass",
        "one row",
        "axes",
        "square",
    ],
)
def test_rows_are_projected_as_the_layer_projects_them(made, tensor):
    wanted = made(tensor)
    found = by_row(made, ops.convert_to_tensor(tensor))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(np.array(found), np.array(wanted), rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_a_product_is_not_called(monkeypatch):
    """The speed of short sequences comes from the product that is written out."""

    def fail(*args, **kwargs):
        raise AssertionError("called")

    for made, tensor in ((dense(), INPUT), (dense("abcd,cde->abe", (None, 6)), HEADS)):
        wanted = made(tensor)
        with monkeypatch.context() as patched:
            patched.setattr(made, "call", fail)
            found = by_row(made, ops.convert_to_tensor(tensor))
            with pytest.raises(AssertionError, match="called"):
                made(tensor)
        np.testing.assert_allclose(np.array(found), np.array(wanted), rtol=1e-5, atol=1e-6)


def test_what_a_layer_learned_in_low_rank_counts():
    made = dense()
    made.build(INPUT.shape)
    before = np.array(by_row(made, ops.convert_to_tensor(INPUT)))
    made.enable_lora(2)
    made.lora_kernel_b.assign(RNG.normal(size=made.lora_kernel_b.shape))
    found = np.array(by_row(made, ops.convert_to_tensor(INPUT)))
    np.testing.assert_allclose(found, np.array(made(INPUT)), rtol=1e-5, atol=1e-5)
    assert np.abs(found - before).max() > 0.1


def test_a_quantised_layer_and_one_with_a_penalty_are_called():
    quantised, penalised = dense(), dense(activity_regularizer="l2")
    for made in (quantised, penalised):
        made.build(INPUT.shape)
    quantised.quantize("int8")
    found = by_row(quantised, ops.convert_to_tensor(INPUT))
    np.testing.assert_allclose(np.array(found), np.array(quantised(INPUT)), rtol=1e-5, atol=1e-6)
    by_row(penalised, ops.convert_to_tensor(INPUT))
    assert len(penalised.losses) == 1


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_the_product_is_of_the_layer_s_type(policy):
    made = dense(dtype=policy)
    wanted = made(INPUT)
    found = by_row(made, ops.convert_to_tensor(INPUT))
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(
        np.array(ops.cast(found, "float32")), np.array(ops.cast(wanted, "float32")), atol=0.05
    )
