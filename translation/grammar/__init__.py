"""A synchronous grammar of English and German: one structure, two sentences, one alignment.

`structure.py` says what a sentence is made of, `derivation.py` words it in both languages,
`composition.py` makes up structures that mean something, from the words in `words/`.
"""
