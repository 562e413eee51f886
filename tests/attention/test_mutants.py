"""The tests of the attention core must see what is broken on purpose."""

import shutil
import subprocess
import sys

import pytest

from benchmarks.demo import ROOT

CORE = "attention_apps/attention"
MUTANTS = {
    "heads are swapped": (
        f"{CORE}/algorithms/dense.py",
        'ops.einsum("bhqk,bkhd->bqhd", applied, value)',
        'ops.einsum("bhqk,bkhd->bqhd", ops.flip(applied, axis=1), value)',
    ),
    "scores are not scaled": (f"{CORE}/scoring.py", "1.0 / math.sqrt(query.shape[-1])", "1.0"),
    "the mask is dropped": (
        f"{CORE}/algorithms/dense.py",
        "[mechanism.normalizer](scores, mask)",
        "[mechanism.normalizer](scores, None)",
    ),
    "empty rows attend to everything": (
        f"{CORE}/normalizers.py",
        "return ops.where(mask, weights, ops.cast(0.0, weights.dtype))",
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
        f"{CORE}/positions.py",
        "second * cosine + first * sine",
        "second * cosine - first * sine",
    ),
    "cached keys land one place off": (
        f"{CORE}/multi_head.py",
        "start = (0, position, 0, 0)",
        "start = (0, position + 1, 0, 0)",
    ),
    "rotary is left out of cached steps": (
        f"{CORE}/multi_head.py",
        "new_key = self.mechanism.position.rotate(new_key, query_positions)",
        "new_key = new_key",
    ),
}


def run_tests(root):
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            "tests/attention/test_layers.py",
            "tests/attention/test_positions.py",
        ],
        cwd=root,
        capture_output=True,
        text=True,
    )


@pytest.mark.verify
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_core_turns_the_tests_red(name, tmp_path):
    file, whole, broken = MUTANTS[name]
    for part in ("attention_apps", "tests", "benchmarks", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    text = (tmp_path / file).read_text()
    assert text.count(whole) >= 1, f"{file} has changed: {whole!r} is not in it any more"
    (tmp_path / file).write_text(text.replace(whole, broken))
    answer = run_tests(tmp_path)
    # 1: tests ran and failed. Anything else (2: interrupted, 4: misused) would prove nothing.
    assert answer.returncode == 1, f"nobody noticed that {name}:\n{answer.stdout[-1500:]}"
    assert "failed" in answer.stdout
