"""What attention costs: calls per second of CPU time and peak extra memory, beside its peers.

python -m benchmarks.attention --length 2048 --batch-size 8 --backward --peer-python PATH

Eight heads of 64 in float32, one thread, in a compiled graph, in turn on one machine, each
measurement in a process of its own: a call that is not counted, then calls that are. Extra memory
is the highest resident size of the process during the counted calls less that before the first,
inputs in place; gradients and outputs count. PATH is the Python of an environment with PyTorch
(pip install torch==2.13.0); without it only TensorFlow is timed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from benchmarks.in_turn import ROOT, measure_in_turn

HEADS, DIM = 8, 64
PEER = ROOT / "benchmarks" / "peers" / "torch_attention.py"
CORE = {
    "dense": "dense",
    "chunked": "chunked",
    "local": "local+window:128",
    "linear": "linear:256",
    "low-rank": "low-rank:256",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    of: Literal["core", "layer"] = "core"
    """Attention of projected heads, or whole layers with their four projections."""
    ways: tuple[str, ...] = ("chunked", "dense", "keras")
    """Which to measure: dense, chunked, local, linear, low-rank, keras; of layers auto, local,
    keras."""
    length: int = 512
    """Number of queries and of keys."""
    batch_size: int = 8
    """Sequences at once."""
    backward: bool = False
    """Also compute all gradients."""
    calls: int = 3
    """Calls that are counted, after one that is not."""
    rounds: int = 3
    """How often each is measured, in turn."""
    peer_python: str = ""
    """Python of an environment with PyTorch; empty leaves it out."""
    measure: str = ""
    """Measure one way in this process and print JSON; for the command's own use."""


def resident_megabytes() -> float:
    """Memory that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_megabytes() -> float:
    """The most memory that the process has held since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def forget_peak() -> None:
    """Let the peak begin anew at what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def attend_by(way: str, length: int) -> Callable[..., Any]:
    """A function of projected queries, keys and values `(batch, length, heads, dim)`."""
    from keras import ops

    if way == "keras":
        return lambda q, k, v: ops.dot_product_attention(q, k, v)
    from attention_apps.attention.algorithms.dense import dense_attention
    from attention_apps.attention.algorithms.linear import linear_weights
    from attention_apps.attention.algorithms.low_rank import low_rank_weights
    from attention_apps.attention.choosing import Call, run_algorithm
    from attention_apps.attention.mechanism import parse_mechanism

    mechanism = parse_mechanism(CORE[way])
    if way == "dense":
        return lambda q, k, v: dense_attention(q, k, v, mechanism=mechanism)[0]
    weights: dict[str, dict[str, Any]] = {
        "score_weights": {},
        "scope_weights": {},
        "position_weights": {},
        "algorithm_weights": {},
    }
    learned = {"linear": linear_weights(256, DIM), "low-rank": low_rank_weights(256, length)}
    weights["algorithm_weights"] = {
        name: initializer(shape, dtype="float32")
        for name, (shape, initializer) in learned.get(way, {}).items()
    }

    def attend(q: Any, k: Any, v: Any) -> Any:
        call = Call(lengths=(q.shape[1], k.shape[1]))
        context, _ = run_algorithm(
            mechanism, mechanism.algorithm, call, q, k, v, weights=weights, wanted=False
        )
        return context

    return attend


def layer_by(way: str) -> Any:
    """A layer over inputs `(batch, length, heads x dim)`."""
    import keras

    from attention_apps.attention.layers import MultiHeadAttention
    from attention_apps.attention.mechanism import parse_mechanism

    if way == "keras":
        return keras.layers.MultiHeadAttention(HEADS, DIM)
    text = {"auto": "full", "local": "local+window:128"}.get(way, way)
    return MultiHeadAttention(HEADS, DIM, mechanism=parse_mechanism(text))


def measure(options: Options) -> dict[str, float]:
    """Time one way in this process.

    Returns:
        The `count` of calls, their `cpu_seconds` and the extra `megabytes` at the peak.
    """
    import tensorflow as tf

    way = options.measure
    made: Any = attend_by(way, options.length) if options.of == "core" else layer_by(way)
    size = (HEADS, DIM) if options.of == "core" else (HEADS * DIM,)
    inputs = [
        tf.random.normal((options.batch_size, options.length, *size))
        for _ in range(3 if options.of == "core" else 1)
    ]
    variables: list[Any] = []
    if options.of == "layer":
        made.build(inputs[0].shape, inputs[0].shape)
        variables = made.trainable_variables

    def attend(*inputs: Any) -> Any:
        return made(*inputs) if options.of == "core" else made(*inputs, *inputs)

    @tf.function
    def call(*inputs: Any) -> Any:
        if not options.backward:
            return attend(*inputs)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = attend(*inputs)
        return tape.gradient(output, [*inputs, *variables], output_gradients=output)

    call.get_concrete_function(*inputs)
    before = resident_megabytes()
    forget_peak()
    call(*inputs)
    began = time.process_time()
    for _ in range(options.calls):
        call(*inputs)
    return {
        "count": options.calls,
        "cpu_seconds": time.process_time() - began,
        "megabytes": peak_megabytes() - before,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all ways in turn."""
    argv = sys.argv[1:] if argv is None else list(argv)
    options = parse(
        Options, argv, prog="python -m benchmarks.attention", description=__doc__.split("\n")[0]
    )
    if options.measure:
        # One thread does the same work in the fewest CPU-seconds; read before the first device.
        os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
        quiet_start()
        print(json.dumps(measure(options)))
        return 0
    commands = {
        way: [sys.executable, "-m", "benchmarks.attention", *argv, "--measure", way]
        for way in options.ways
    }
    if options.peer_python:
        numbers = [options.of, options.length, options.batch_size, int(options.backward)]
        numbers.append(options.calls)
        commands["torch"] = [options.peer_python, str(PEER), *map(str, numbers)]
    measure_in_turn(commands, rounds=options.rounds, unit="calls")
    return 0


if __name__ == "__main__":
    run_command(main)
