"""Which tests must notice a change of each module of the attention core.

All modules but `decoding`, `search` and `hypotheses`, whose tests of searches take too long for
every change, and `layers`, which hands on names.
"""

from __future__ import annotations

_SPARSE = ("test_sparse_and_hard",)
_ALGORITHM = ("test_algorithms", "-k")
# What must notice a change of each module, what notices most of them soonest first.
TESTS: dict[str, tuple[str, ...]] = {
    "masks": ("test_masks",),
    "random_blocks": ("test_masks", "test_algorithms", "-k", "test_masks or random"),
    "scoring": ("test_scoring",),
    "score_shaping": ("test_relative_positions", *_SPARSE),
    "normalizers": ("test_normalizers",),
    "sparse_normalizers": (*_SPARSE, "-k", "sparsemax or top_k or masked or four or numbers"),
    "hard": (*_SPARSE, "-k", "not sparsemax and not top_k and not loop"),
    "positions": ("test_positions",),
    "rotary": ("test_positions", "test_relative_positions"),
    "relative_positions": ("test_relative_positions",),
    "algorithms.dense": ("test_dense",),
    "algorithms.chunked": ("test_chunked",),
    "algorithms.local": (
        *("test_sparse_algorithms", "-k"),
        "neighbouring or reaches or noise_is_drawn_for_every_score[True]",
    ),
    "algorithms.block_sparse": ("test_sparse_algorithms", "-k", "not neighbouring and not reaches"),
    "algorithms.linear": ("test_linear",),
    "algorithms.low_rank": ("test_low_rank", *_ALGORITHM, "low"),
    "algorithms.pooled": ("test_pooled", *_ALGORITHM, "multi-scale or pooled"),
    "algorithms.choices": ("test_choosing", "-k", "sizes or rows_where"),
    "multi_head": ("test_multi_head", "test_multi_head_shapes"),
    "projections": ("test_projections", "test_cached_steps"),
    "single_head": ("test_single_head",),
    "grouped_heads": ("test_grouped_heads",),
    "grouped_query": ("test_grouped_heads",),
    "masking": ("test_masking",),
    "folding": ("test_folding",),
    "reporting": ("test_reporting",),
    "sampling": ("test_sampling",),
    "adaptive_span": ("test_adaptive_span",),
    "predicted_window": (
        *("test_predicted_window", "-k"),
        "formula or ones or padding or gradients or half or sense_are or json",
    ),
    "multi_scale": ("test_mechanism", "-k", "scale"),
    "stepwise": ("test_stepwise",),
    "mechanism": ("test_mechanism",),
    "refusals": ("test_mechanism",),
    "words": ("test_words", "test_mechanism", "-k", "not site"),
    "step_records": ("test_step_records",),
    "tensorflow_graphs": (
        *("test_step_records", "test_caches", "-k"),
        "recorded or graph_knows or eager_code "
        "or grows_equals_one_call_and_holds_no_empty_slot[full]",
    ),
    "caches": (
        *("test_caches", "-k"),
        "eager_code or type or grows_equals_one_call_and_holds_no_empty_slot[window:3]",
    ),
    "choosing": ("test_choosing",),
    "cached_steps": ("test_cached_steps",),
    "blocks": ("test_block_parts",),
}
