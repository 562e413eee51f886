"""The tests of the attention core must see what is broken on purpose."""

import shutil
import subprocess
import sys

import pytest

from benchmarks.demo import ROOT

CORE = "attention_apps/attention"
ALGORITHMS = f"{CORE}/algorithms"
# Files of tests that must notice.
LAYERS = ("test_layers", "test_positions")
FAST = ("test_algorithms",)
SPARSE = ("test_sparse_and_hard",)
POSITIONS = ("test_relative_positions",)
MUTANTS = {
    "heads are swapped": (
        f"{CORE}/algorithms/dense.py",
        'ops.einsum("bhqk,bkhd->bqhd", applied, value)',
        'ops.einsum("bhqk,bkhd->bqhd", ops.flip(applied, axis=1), value)',
    ),
    "scores are not scaled": (f"{CORE}/scoring.py", "1.0 / math.sqrt(query.shape[-1])", "1.0"),
    "the mask is dropped": (
        f"{CORE}/algorithms/dense.py",
        "mechanism.normalizer(scores, mask, drawn)",
        "mechanism.normalizer(scores, None, drawn)",
    ),
    "empty rows attend to everything": (
        f"{CORE}/normalizers.py",
        'return ops.where(ops.cast(mask, "bool"), weights, ops.cast(0.0, weights.dtype))',
        "return weights",
    ),
    "causal masks are aligned to the start": (
        f"{CORE}/masks.py",
        'ops.arange(query_length, dtype="int32") + (key_length - query_length)',
        'ops.arange(query_length, dtype="int32")',
    ),
    "a query sees one step of the future": (
        f"{CORE}/masks.py",
        "ops.less_equal(key_positions, query_positions)",
        "ops.less_equal(key_positions, query_positions + 1)",
    ),
    "what is masked can spread": (
        f"{CORE}/multi_head.py",
        "value = attendable(value, attendable_keys)",
        "value = value",
    ),
    "weights are those after dropout": (
        f"{CORE}/algorithms/dense.py",
        'ops.einsum("bhqk,bkhd->bqhd", applied, value), weights',
        'ops.einsum("bhqk,bkhd->bqhd", applied, value), ops.cast(applied, weights.dtype)',
    ),
    "float16 products overflow": (f"{CORE}/scoring.py", 'query.dtype == "float16"', "False"),
    "explicit query masks are ignored": (
        f"{CORE}/multi_head.py",
        "None if query_mask is None else query_mask[..., :, None]",
        "None",
    ),
    "rotary turns the wrong way": (
        f"{CORE}/rotary.py",
        "second * cosine + first * sine",
        "second * cosine - first * sine",
    ),
    "cached keys land one place off": (
        f"{CORE}/cached_steps.py",
        "start = (0, position % slots, 0, 0)",
        "start = (0, (position + 1) % slots, 0, 0)",
    ),
    "rotary is left out of cached steps": (
        f"{CORE}/cached_steps.py",
        'self._placed(self.key_dense(query), "key", query_positions)',
        "self.key_dense(query)",
    ),
    "sparsemax takes one key too many": (
        f"{CORE}/sparse_normalizers.py",
        "threshold = (ops.sum(ordered * is_kept, axis=-1, keepdims=True) - 1.0) / count",
        "threshold = (ops.sum(ordered * is_kept, axis=-1, keepdims=True) - 1.5) / count",
        SPARSE,
    ),
    "top-k keeps one key too many": (
        f"{CORE}/sparse_normalizers.py",
        "ops.shape(scores)[-1] - self.count, 0",
        "ops.shape(scores)[-1] - self.count - 1, 0",
        SPARSE,
    ),
    "hard attention learns nothing": (
        f"{CORE}/hard.py",
        "highest_place(scores, mask) + (soft - ops.stop_gradient(soft))",
        "highest_place(scores, mask) + ops.stop_gradient(soft - soft)",
        SPARSE,
    ),
    "noise is added outside training too": (
        f"{CORE}/multi_head.py",
        "if training and self._noise_seed is not None",
        "if self._noise_seed is not None",
        SPARSE,
    ),
    "ALiBi looks one way only": (
        f"{CORE}/relative_positions.py",
        'ops.cast(ops.abs(distances), "float32")',
        'ops.cast(-distances, "float32")',
        POSITIONS,
    ),
    "buckets of both directions are one": (
        f"{CORE}/relative_positions.py",
        "ops.where(distances > 0, half, 0)",
        "ops.where(distances > 0, 0, 0)",
        POSITIONS,
    ),
    "relative keys are off by one": (
        f"{CORE}/relative_positions.py",
        "self.max_distance) + self.max_distance\n",
        "self.max_distance) + self.max_distance - 1\n",
        POSITIONS,
    ),
    "YaRN does not lengthen": (
        f"{CORE}/rotary.py",
        "length = 0.1 * math.log(self.factor) + 1.0",
        "length = 1.0",
        POSITIONS,
    ),
    "QK-norm leaves its gain out": (
        f"{CORE}/score_shaping.py",
        ' * ops.cast(gain, "float32"), vectors.dtype',
        ", vectors.dtype",
        POSITIONS,
    ),
    "a chunk's bias is off by one": (
        f"{ALGORITHMS}/chunked.py",
        "rows[:, None] + (self.num_queries - 1)",
        "rows[:, None] + self.num_queries",
        FAST,
    ),
    "the chunked gradient forgets the mean": (
        f"{ALGORITHMS}/chunked.py",
        "weights * (by_weight - mean)",
        "weights * by_weight",
        FAST,
    ),
    "the chunked gradient forgets the soft cap": (
        f"{ALGORITHMS}/chunked.py",
        "by_score = by_score * slope",
        "by_score = by_score",
        FAST,
    ),
    "keys behind a block are left out": (
        f"{ALGORITHMS}/local.py",
        'key_positions = starts + ops.arange(width, dtype="int32") - before * size',
        'key_positions = starts + ops.arange(width, dtype="int32")',
        FAST,
    ),
    "blocks come back in the wrong order": (
        f"{ALGORITHMS}/block_sparse.py",
        "ops.take(context, np.argsort(order), axis=1)",
        "context",
        FAST,
    ),
    "missing blocks are read as the first": (
        f"{ALGORITHMS}/block_sparse.py",
        "mask = ops.logical_and(mask, ops.convert_to_tensor(keys[:, None] >= 0))",
        "mask = ops.logical_or(mask, ops.convert_to_tensor(keys[:, None] < 0))",
        FAST,
    ),
    "random features prefer a direction": (
        f"{ALGORITHMS}/linear.py",
        "(orthogonal * np.sign(np.diag(triangular))).T",
        "orthogonal.T",
        FAST,
    ),
    "linear attention sees one step ahead": (
        f"{ALGORITHMS}/linear.py",
        "places[None] <= places[:, None]",
        "places[None] <= places[:, None] + 1",
        FAST,
    ),
    "padding is mixed into low-rank keys": (
        f"{ALGORITHMS}/low_rank.py",
        "ops.where(kept[:, None], projection, ops.zeros_like(projection))",
        "projection + ops.zeros_like(ops.cast(kept[:, None], projection.dtype))",
        FAST,
    ),
    "a pool is seen before it is whole": (
        f"{ALGORITHMS}/pooled.py",
        "* factor - 1\n",
        "* factor - factor\n",
        FAST,
    ),
    "a span ends too early": (
        f"{CORE}/adaptive_span.py",
        "share = ops.clip(1.0 - behind / self.ramp, 0.0, 1.0)",
        "share = ops.clip(-behind / self.ramp, 0.0, 1.0)",
        FAST,
    ),
    "a rolling cache forgets too early": (
        f"{CORE}/cached_steps.py",
        "min(max_length, behind + 1)",
        "min(max_length, behind)",
        FAST,
    ),
    "masked queries attend": (
        f"{CORE}/choosing.py",
        "context = ops.where(asked[:, :, None, None], context, ops.zeros_like(context))",
        "context = context",
        FAST,
    ),
}


def run_tests(root, files):
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *(f"tests/attention/{file}.py" for file in files),
        ],
        cwd=root,
        capture_output=True,
        text=True,
    )


@pytest.mark.verify
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_core_turns_the_tests_red(name, tmp_path):
    file, whole, broken, *files = MUTANTS[name]
    for part in ("attention_apps", "tests", "benchmarks", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    text = (tmp_path / file).read_text()
    assert text.count(whole) >= 1, f"{file} has changed: {whole!r} is not in it any more"
    (tmp_path / file).write_text(text.replace(whole, broken))
    answer = run_tests(tmp_path, files[0] if files else LAYERS)
    # 1: tests ran and failed. Anything else (2: interrupted, 4: misused) would prove nothing.
    assert answer.returncode == 1, f"nobody noticed that {name}:\n{answer.stdout[-1500:]}"
    assert "failed" in answer.stdout
