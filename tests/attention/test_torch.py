"""Outputs and all gradients are those of PyTorch, which answers in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.attention.algorithms.block_sparse import block_sparse_attention
from attention_apps.attention.algorithms.chunked import chunked_attention
from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.algorithms.local import local_attention
from attention_apps.attention.grouped_heads import shared_out
from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.masks import causal, window
from attention_apps.attention.mechanism import Mechanism

pytestmark = [
    pytest.mark.verify,
    pytest.mark.skipif(
        "TORCH_FOLDER" not in os.environ,
        reason="needs PyTorch in TORCH_FOLDER, into which `make verify` installs it",
    ),
]

BATCH, LENGTH, HEADS, DIM = 2, 12, 4, 5
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}
PLAIN = Mechanism()


def numbers(seed, *shape, dtype):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def allowed(*shape):
    """A mask in which every query may attend to something."""
    mask = np.random.default_rng(9).random(shape) < 0.6
    mask[..., 1] = True
    return mask


def attention_question(dtype, num_queries=LENGTH, num_key_heads=HEADS, value_dim=DIM, **options):
    arrays = {
        "query": 2 * numbers(0, BATCH, num_queries, HEADS, DIM, dtype=dtype),
        "key": 2 * numbers(1, BATCH, LENGTH, num_key_heads, DIM, dtype=dtype),
        "value": numbers(2, BATCH, LENGTH, num_key_heads, value_dim, dtype=dtype),
        "upstream": numbers(3, BATCH, num_queries, HEADS, value_dim, dtype=dtype),
    }
    mask, bias = options.get("mask"), options.get("bias")
    if mask is not None:
        arrays["mask"] = mask
    if bias is not None:
        arrays["bias"] = bias.astype(dtype)
    return {"of": "attention", "is_causal": options.get("is_causal", False)}, arrays


def dense(query, key, value, mask=None, bias=None):
    key, value = shared_out(key, HEADS), shared_out(value, HEADS)
    return dense_attention(query, key, value, mechanism=PLAIN, mask=mask, score_bias=bias)[0]


def placed(num_queries, scope):
    return np.array(scope.dense(num_queries, LENGTH))


def dense_and_causal(query, key, value):
    return dense(query, key, value, mask=placed(LENGTH, causal()))


NO_KEY = allowed(BATCH, 1, LENGTH, LENGTH)
NO_KEY[0, :, 3] = False
KEY_MASK = np.arange(LENGTH) < np.array([[LENGTH], [7]])
BAND = window(4) & causal()
# What PyTorch is asked, and how ours answers the same.
ATTENTIONS = {
    "plain": ({}, dense),
    "values of another size": ({"value_dim": 3}, dense),
    "mask by head": ({"mask": allowed(BATCH, HEADS, LENGTH, LENGTH)}, dense),
    "rows without a key": ({"mask": NO_KEY}, dense),
    "bias": ({"bias": numbers(5, BATCH, HEADS, LENGTH, LENGTH, dtype="float64")}, dense),
    "causal": ({"is_causal": True}, dense_and_causal),
    "causal, fewer queries": (
        {"num_queries": 5, "mask": np.tril(np.ones((5, LENGTH), bool), LENGTH - 5)},
        lambda q, k, v, mask: dense(q, k, v, mask=placed(5, causal())),
    ),
    "grouped heads": ({"num_key_heads": 2}, dense),
    "one head of keys, causal": ({"num_key_heads": 1, "is_causal": True}, dense_and_causal),
    "chunked": (
        {"mask": KEY_MASK[:, None, None]},
        lambda q, k, v, mask: chunked_attention(
            q, k, v, mechanism=PLAIN, key_mask=KEY_MASK, rows=5
        ),
    ),
    "chunked, causal": (
        {"is_causal": True},
        lambda q, k, v: chunked_attention(q, k, v, mechanism=PLAIN, scope=causal(), rows=5),
    ),
    "local": (
        {"mask": KEY_MASK[:, None, None] & placed(LENGTH, BAND)},
        lambda q, k, v, mask: local_attention(
            q, k, v, mechanism=PLAIN, reach=BAND.reach(), scope=BAND, key_mask=KEY_MASK
        ),
    ),
    "block-sparse": (
        {"mask": placed(LENGTH, window(4))},
        lambda q, k, v, mask: block_sparse_attention(
            q, k, v, mechanism=PLAIN, scope=window(4), size=3
        ),
    ),
}


def layer_question(dtype, num_heads, use_bias, sizes, masks):
    query_dim, key_dim, value_dim = sizes
    arrays = {
        "query": numbers(0, BATCH, LENGTH - 3, query_dim, dtype=dtype),
        "key": numbers(1, BATCH, LENGTH, key_dim, dtype=dtype),
        "value": numbers(2, BATCH, LENGTH, value_dim, dtype=dtype),
        "upstream": numbers(3, BATCH, LENGTH - 3, query_dim, dtype=dtype),
    }
    projections = {"q": query_dim, "k": key_dim, "v": value_dim}
    kernels = {
        role: numbers(4 + place, query_dim, size, dtype=dtype) * 0.5
        for place, (role, size) in enumerate(projections.items())
    }
    if len(set(sizes)) == 1:
        arrays["in_proj_weight"] = np.concatenate(list(kernels.values()))
    else:
        arrays |= {f"{role}_proj_weight": kernel for role, kernel in kernels.items()}
    arrays["out_proj.weight"] = numbers(7, query_dim, query_dim, dtype=dtype)
    if use_bias:
        arrays["in_proj_bias"] = numbers(8, 3 * query_dim, dtype=dtype)
        arrays["out_proj.bias"] = numbers(10, query_dim, dtype=dtype)
    asked = {"of": "layer", "num_heads": num_heads, "use_bias": use_bias}
    return asked, arrays | masks


MASKS = {
    "none": {},
    "pairs": {"mask": allowed(LENGTH - 3, LENGTH)},
    "padding": {"key_mask": KEY_MASK},
    "both": {"mask": allowed(LENGTH - 3, LENGTH), "key_mask": KEY_MASK},
    "causal": {"mask": np.tril(np.ones((LENGTH - 3, LENGTH), bool), 3)},
}
LAYERS = {
    f"{num_heads} heads, sizes {sizes}, bias {use_bias}, masks {masks}": (
        num_heads,
        use_bias,
        sizes,
        masks,
    )
    for num_heads, use_bias, sizes in [
        (4, True, (8, 8, 8)),
        (2, False, (8, 8, 8)),
        (3, True, (6, 5, 7)),
    ]
    for masks in MASKS
}


@pytest.fixture(scope="module")
def torch_answers(tmp_path_factory):
    """Every question and PyTorch's answers, by name of the question, from one process."""
    questions = {}
    for dtype in TOLERANCES:
        for name, (options, _) in ATTENTIONS.items():
            questions[f"{name}, {dtype}"] = attention_question(dtype, **options)
        for name, (*options, masks) in LAYERS.items():
            questions[f"{name}, {dtype}"] = layer_question(dtype, *options, MASKS[masks])
    asked = {
        name: {**options, "arrays": list(arrays)} for name, (options, arrays) in questions.items()
    }
    files = [str(tmp_path_factory.mktemp("torch") / name) for name in ("asked.npz", "told.npz")]
    arrays = {
        f"{name}/{part}": array
        for name, (_, arrays) in questions.items()
        for part, array in arrays.items()
    }
    np.savez(files[0], asked=json.dumps(asked), **arrays)
    script = str(Path(__file__).with_name("torch_answers.py"))
    environment = {**os.environ, "PYTHONPATH": os.environ["TORCH_FOLDER"]}
    answered = subprocess.run(
        [sys.executable, script, *files], env=environment, capture_output=True, text=True
    )
    assert answered.returncode == 0, answered.stderr[-3000:]
    told = dict(np.load(files[1]))
    return {
        name: (
            arrays,
            {
                part.removeprefix(f"{name}/"): array
                for part, array in told.items()
                if part.startswith(f"{name}/")
            },
        )
        for name, (_, arrays) in questions.items()
    }


def assert_same(ours, theirs, dtype):
    assert ours.keys() == theirs.keys()
    for part, expected in theirs.items():
        found = np.array(ours[part])
        assert found.dtype == expected.dtype == dtype or part == "weights"
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=TOLERANCES[dtype] * scale, err_msg=part
        )


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_is_that_of_pytorch(torch_answers, name, dtype):
    arrays, theirs = torch_answers[f"{name}, {dtype}"]
    attend = ATTENTIONS[name][1]
    variables = {
        part: tf.Variable(array)
        for part, array in arrays.items()
        if part not in ("upstream", "mask")
    }
    fixed = {"mask": arrays["mask"]} if "mask" in arrays else {}
    with tf.GradientTape() as tape:
        given = list(variables.values())
        options = {"bias": variables["bias"]} if "bias" in variables else {}
        context = attend(
            *(tf.convert_to_tensor(tensor) for tensor in given[:3]), **fixed, **options
        )
        loss = tf.reduce_sum(context * arrays["upstream"])
    by_input = tape.gradient(loss, variables)
    ours = {"context": context, **{f"by {part}": grad for part, grad in by_input.items()}}
    assert_same(ours, theirs, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_is_that_of_pytorch(torch_answers, name, dtype):
    arrays, theirs = torch_answers[f"{name}, {dtype}"]
    num_heads, use_bias, sizes, masks = LAYERS[name]
    dim = sizes[0]
    layer = MultiHeadAttention(num_heads, dim // num_heads, use_bias=use_bias, dtype=dtype)
    inputs = [tf.Variable(arrays[part]) for part in ("query", "value", "key")]
    layer.build(*(tensor.shape for tensor in inputs))
    kernels = (
        np.split(arrays["in_proj_weight"], 3)
        if "in_proj_weight" in arrays
        else [arrays[f"{role}_proj_weight"] for role in "qkv"]
    )
    denses = layer.query_dense, layer.key_dense, layer.value_dense
    # A kernel of PyTorch's is (outputs, inputs), its outputs head by head.
    for dense, kernel in zip(denses, kernels, strict=True):
        dense.kernel.assign(kernel.T.reshape(dense.kernel.shape))
    layer.output_dense.kernel.assign(
        arrays["out_proj.weight"].T.reshape(layer.output_dense.kernel.shape)
    )
    if use_bias:
        for dense, bias in zip(denses, np.split(arrays["in_proj_bias"], 3), strict=True):
            dense.bias.assign(bias.reshape(dense.bias.shape))
        layer.output_dense.bias.assign(arrays["out_proj.bias"])
    options = {"key_mask": arrays.get("key_mask"), "attention_mask": arrays.get("mask")}
    if masks == "causal":
        options = {"use_causal_mask": True}
    with tf.GradientTape() as tape:
        output, weights = layer(*inputs, return_attention_scores=True, **options)
        loss = tf.reduce_sum(output * arrays["upstream"])
    by_input, by_kernel, by_bias = tape.gradient(
        loss,
        (
            inputs,
            [dense.kernel.value for dense in (*denses, layer.output_dense)],
            [dense.bias.value for dense in (*denses, layer.output_dense) if use_bias],
        ),
    )
    ours = {"output": output, "weights": weights}
    ours |= dict(zip(("by query", "by value", "by key"), by_input, strict=True))
    in_proj = [np.reshape(gradient, (-1, dim)).T for gradient in by_kernel[:3]]
    if "in_proj_weight" in arrays:
        ours["by in_proj_weight"] = np.concatenate(in_proj)
    else:
        ours |= {f"by {role}_proj_weight": grad for role, grad in zip("qkv", in_proj, strict=True)}
    ours["by out_proj.weight"] = np.reshape(by_kernel[3], (-1, dim)).T
    if use_bias:
        ours["by in_proj_bias"] = np.concatenate([np.ravel(gradient) for gradient in by_bias[:3]])
        ours["by out_proj.bias"] = by_bias[3]
    assert_same(ours, theirs, dtype)


def test_the_oracle_would_see_a_key_that_is_masked_by_mistake(torch_answers):
    arrays, theirs = torch_answers["plain, float64"]
    context = dense(arrays["query"], arrays["key"], arrays["value"], mask=np.arange(LENGTH) > 0)
    with pytest.raises(AssertionError, match="context"):
        assert_same({"context": context}, {"context": theirs["context"]}, "float64")
