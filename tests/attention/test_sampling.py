"""Draws against their definition in NumPy, and uniform numbers against MurmurHash3 in integers."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention import sampling
from attention_apps.attention.sampling import draw, uniforms_of

SHARES = np.array([[0.1, 0.3, 0.05, 0.4, 0.15], [0.05, 0.05, 0.6, 0.1, 0.2]])
# Logits are what they are up to a constant of the row.
LOGITS = (np.log(SHARES) + np.array([[3.0], [-5.0]])).astype("float32")


def drawn(logits, uniform, top_k=None, top_p=1.0):
    found = draw(ops.convert_to_tensor(logits), ops.convert_to_tensor(uniform), top_k, top_p)
    assert found.dtype == "int32"
    assert found.shape == (len(logits), 1)
    return np.array(found)[:, 0].tolist()


def by_definition(shares, uniform, top_k, top_p):
    """Tokens in the order of their ids, or where some are left out from the most probable on."""
    order = np.arange(len(shares))
    if top_k is not None or top_p < 1:
        order = np.argsort(-shares, kind="stable")[:top_k]
    shares = shares[order] / shares[order].sum()
    kept = [place for place in range(len(order)) if shares[:place].sum() < top_p]
    place = np.searchsorted(np.cumsum(shares[kept]), uniform * shares[kept].sum(), side="right")
    return int(order[place])


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(None, 1.0), (1, 1.0), (3, 1.0), (9, 1.0), (None, 0.65), (3, 0.65)]
)
def test_a_draw_falls_where_the_sum_of_the_shares_says(top_k, top_p):
    rows, uniforms = np.repeat([0, 1], 30), np.tile(np.linspace(0.013, 0.993, 30), 2)
    found = drawn(LOGITS[rows], uniforms[:, None].astype("float32"), top_k, top_p)
    pairs = zip(SHARES[rows], uniforms, strict=True)
    assert found == [by_definition(shares, uniform, top_k, top_p) for shares, uniform in pairs]


def test_rows_are_drawn_by_numbers_of_their_own():
    found = drawn(np.tile(LOGITS[:1], (3, 1)), np.array([[0.05], [0.2], [0.95]], "float32"))
    assert found == [0, 1, 4]


def test_a_share_begins_with_its_lower_bound_and_ends_before_its_upper():
    logits = np.zeros((3, 2), "float32")
    assert drawn(logits, np.array([[0.0], [0.5], [0.9999]], "float32")) == [0, 1, 1]
    # What holds the share of `top_p` by itself is enough.
    half = float(ops.exp(-ops.logsumexp(logits[0])))
    assert drawn(logits[:1], np.array([[0.9]], "float32"), top_p=half) == [0]


def test_what_has_no_share_is_not_drawn_however_sums_are_rounded(monkeypatch):
    """Sums of many terms may differ by a rounding where nothing was added."""
    monkeypatch.setattr(
        sampling.ops, "cumsum", lambda x, axis: ops.convert_to_tensor([[1e-7, 0.5, 0.6, 1.0]])
    )
    logits = np.array([[-np.inf, 0.0, -np.inf, 0.0]], "float32")
    assert drawn(logits, np.array([[0.0]], "float32")) == [1]
    assert drawn(logits, np.array([[0.55]], "float32")) == [3]
    # Where nothing is reached it is what is most probable, whatever other rows reach.
    logits = np.log([[0.2, 0.1, 0.4, 0.3], [0.3, 0.45, 0.15, 0.1]]).astype("float32")
    assert drawn(logits, np.array([[1.0], [0.7]], "float32")) == [2, 3]


def test_all_tokens_are_kept_however_sums_are_rounded(monkeypatch):
    monkeypatch.setattr(sampling.ops, "cumsum", lambda x, axis: ops.convert_to_tensor([[0.5, 1.6]]))
    assert drawn(np.zeros((1, 2), "float32"), np.array([[0.9]], "float32")) == [1]


def mixed(value):
    """The 32-bit finaliser as Appleby's MurmurHash3.cpp has it (`fmix32`)."""
    value ^= value >> 16
    value = value * 0x85EBCA6B % 2**32
    value ^= value >> 13
    value = value * 0xC2B2AE35 % 2**32
    return value ^ value >> 16


def expected(key, batch, length):
    words = [
        [mixed(mixed((mixed(key) + row) % 2**32) + step) for step in range(length)]
        for row in range(batch)
    ]
    return np.array([[(word >> 8) / 2**24 for word in row] for row in words])


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31 + 5, 2**32 + 7, 2**70 + 9, -6])
def test_uniform_numbers_are_hashed_counters(seed):
    found = uniforms_of(seed, 3, 4)
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, expected(mixed(seed % 2**32), 3, 4))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_a_tensor_is_as_good_a_seed_as_a_number(dtype):
    found = uniforms_of(ops.convert_to_tensor(7, dtype), ops.convert_to_tensor(2), 3)
    np.testing.assert_array_equal(found, uniforms_of(7, 2, 3))


def test_a_generator_gives_other_numbers_every_time():
    generator, twin = (keras.random.SeedGenerator(3) for _ in range(2))
    for _ in range(2):
        first, second = (int(number) for number in twin.next())
        key = mixed((mixed(first) + second) % 2**32)
        np.testing.assert_array_equal(uniforms_of(generator, 2, 3), expected(key, 2, 3))


@pytest.mark.parametrize("seed", [np.array([1, 2]), np.array([1])])
def test_several_numbers_are_no_seed(seed):
    with pytest.raises(ValueError, match=r"one integer or a SeedGenerator\. Received"):
        uniforms_of(seed, 2, 3)
