"""Drop-in replacements for Keras's attention layers that take a `mechanism` and can be observed.

They keep Keras's signatures and weights, and change what its layers get wrong: one masked softmax
on every path (a row that may attend to nothing gives zeros), the same output bit for bit whether
or not the weights are asked for, causal masks aligned to the end of the keys, explicit masks
honoured, masked keys and values unable to matter, and weights in float32 before dropout.
"""

from attention_apps.attention.grouped_query import GroupedQueryAttention
from attention_apps.attention.multi_head import MultiHeadAttention
from attention_apps.attention.single_head import AdditiveAttention, Attention

__all__ = ["AdditiveAttention", "Attention", "GroupedQueryAttention", "MultiHeadAttention"]
