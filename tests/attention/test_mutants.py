"""The tests of the attention core must see what is broken on purpose."""

import pytest

from benchmarks.forked_tests import ForkedTests
from benchmarks.in_turn import ROOT
from benchmarks.mutants import PACKAGE, arguments, path_of

# What is broken: the module, the whole text and the broken one; what must notice, where that is not
# what benchmarks.mutants names for the module.
MUTANTS = {
    "heads are swapped": (
        "algorithms.dense",
        'ops.einsum("bhqk,bkhd->bqhd", applied, value)',
        'ops.einsum("bhqk,bkhd->bqhd", ops.flip(applied, axis=1), value)',
    ),
    "scores are not scaled": ("scoring", "1.0 / math.sqrt(query.shape[-1])", "1.0"),
    "the mask is dropped": (
        "algorithms.dense",
        "mechanism.normalizer(scores, mask, drawn)",
        "mechanism.normalizer(scores, None, drawn)",
    ),
    "empty rows attend to everything": (
        "normalizers",
        'return ops.where(ops.cast(mask, "bool"), weights, ops.cast(0.0, weights.dtype))',
        "return weights",
    ),
    "causal masks are aligned to the start": (
        "masks",
        'ops.arange(query_length, dtype="int32") + (key_length - query_length)',
        'ops.arange(query_length, dtype="int32")',
    ),
    "a query sees one step of the future": (
        "masks",
        "ops.less_equal(key_positions, query_positions)",
        "ops.less_equal(key_positions, query_positions + 1)",
    ),
    "what is masked can spread": (
        "multi_head",
        "value = attendable(value, attendable_keys)",
        "value = value",
    ),
    "weights are those after dropout": (
        "algorithms.dense",
        'ops.einsum("bhqk,bkhd->bqhd", applied, value), weights',
        'ops.einsum("bhqk,bkhd->bqhd", applied, value), ops.cast(applied, weights.dtype)',
    ),
    "float16 products overflow": ("scoring", 'query.dtype == "float16"', "False"),
    "explicit query masks are ignored": (
        "multi_head",
        "None if query_mask is None else query_mask[..., :, None]",
        "None",
    ),
    "rotary turns the wrong way": (
        "rotary",
        "second * cosine + first * sine",
        "second * cosine - first * sine",
    ),
    "cached keys land one place off": (
        "caches",
        "start = (0, 0, position % slots, 0)",
        "start = (0, 0, (position + 1) % slots, 0)",
    ),
    "rotary is left out of cached steps": (
        "cached_steps",
        'self._placed(by_row(self.key_dense, query), "key", query_positions)',
        "by_row(self.key_dense, query)",
    ),
    "sparsemax takes one key too many": (
        "sparse_normalizers",
        "threshold = (ops.sum(ordered * is_kept, axis=-1, keepdims=True) - 1.0) / count",
        "threshold = (ops.sum(ordered * is_kept, axis=-1, keepdims=True) - 1.5) / count",
    ),
    "top-k keeps one key too many": (
        "sparse_normalizers",
        "ops.shape(scores)[-1] - self.count, 0",
        "ops.shape(scores)[-1] - self.count - 1, 0",
    ),
    "hard attention learns nothing": (
        "hard",
        "highest_place(scores, mask) + (soft - ops.stop_gradient(soft))",
        "highest_place(scores, mask) + ops.stop_gradient(soft - soft)",
    ),
    "noise is added outside training too": (
        "multi_head",
        "if training and self._noise_seed is not None",
        "if self._noise_seed is not None",
        "test_sparse_and_hard",
    ),
    "ALiBi looks one way only": (
        "relative_positions",
        'ops.cast(ops.abs(distances), "float32")',
        'ops.cast(-distances, "float32")',
    ),
    "buckets of both directions are one": (
        "relative_positions",
        "ops.where(distances > 0, half, 0)",
        "ops.where(distances > 0, 0, 0)",
    ),
    "relative keys are off by one": (
        "relative_positions",
        "self.max_distance) + self.max_distance\n",
        "self.max_distance) + self.max_distance - 1\n",
    ),
    "YaRN does not lengthen": (
        "rotary",
        "length = 0.1 * math.log(self.factor) + 1.0",
        "length = 1.0",
    ),
    "QK-norm leaves its gain out": (
        "score_shaping",
        ' * ops.cast(gain, "float32"), vectors.dtype',
        ", vectors.dtype",
    ),
    "a chunk's bias is off by one": (
        "algorithms.chunked",
        "rows[:, None] + (self.num_queries - 1)",
        "rows[:, None] + self.num_queries",
    ),
    "the chunked gradient forgets the mean": (
        "algorithms.chunked",
        "[upstreams, -means]",
        "[upstreams, 0 * means]",
    ),
    "the chunked gradient forgets the soft cap": (
        "algorithms.chunked",
        "by_score = by_score * slope",
        "by_score = by_score",
    ),
    "keys behind a block are left out": (
        "algorithms.local",
        "key_positions = starts + ops.arange(width) - before * size",
        "key_positions = starts + ops.arange(width)",
    ),
    "blocks come back in the wrong order": (
        "algorithms.block_sparse",
        "ops.take(context, np.argsort(order), axis=1)",
        "context",
    ),
    "missing blocks are read as the first": (
        "algorithms.block_sparse",
        "mask = ops.logical_and(mask, ops.convert_to_tensor(keys[:, None] >= 0))",
        "mask = ops.logical_or(mask, ops.convert_to_tensor(keys[:, None] < 0))",
    ),
    "random features prefer a direction": (
        "algorithms.linear",
        "(orthogonal * np.sign(np.diag(triangular))).T",
        "orthogonal.T",
    ),
    "linear attention sees what lies ahead": (
        "algorithms.linear",
        "ops.zeros_like(first)",
        "ops.ones_like(first)",
    ),
    "padding is mixed into low-rank keys": (
        "algorithms.low_rank",
        "ops.where(kept[:, None], projection, ops.zeros_like(projection))",
        "projection + ops.zeros_like(ops.cast(kept[:, None], projection.dtype))",
    ),
    "a pool is seen before it is whole": (
        "algorithms.pooled",
        "* factor - 1\n",
        "* factor - factor\n",
    ),
    "a span ends too early": (
        "adaptive_span",
        "share = ops.clip(1.0 - behind / self.ramp, 0.0, 1.0)",
        "share = ops.clip(-behind / self.ramp, 0.0, 1.0)",
    ),
    "a rolling cache forgets too early": (
        "cached_steps",
        "min(max_length, behind + 1)",
        "min(max_length, behind)",
    ),
    "masked queries attend": (
        "choosing",
        "context = ops.where(asked[:, :, None, None], context, ops.zeros_like(context))",
        "context = context",
    ),
}


@pytest.fixture(scope="module")
def forked_tests():
    with ForkedTests(ROOT) as running:
        yield running


@pytest.mark.verify
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_core_turns_the_tests_red(name, forked_tests):
    module, whole, broken, *words = MUTANTS[name]
    text = path_of(module).read_text()
    assert text.count(whole) >= 1, f"{module} has changed: {whole!r} is not in it any more"
    changed = {f"{PACKAGE}.{module}": text.replace(whole, broken)}
    outcome = forked_tests.run(arguments(module, words), changed=changed, limit_s=600)
    # Anything else (tests that cannot be collected, no tests) would prove nothing.
    assert not outcome.passed, f"nobody noticed that {name}:\n{outcome.said}"
    assert " failed" in outcome.said, outcome.said
