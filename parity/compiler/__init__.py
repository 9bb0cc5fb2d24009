"""Check that XLA computes what it is told. The verdict on a pair of modules has three values because of it.

A pair is "same", "different", or the "compiler" is wrong. `program` flattens a JAX function into equations,
`one_by_one` evaluates them, `isolated` compiles and runs them in a process of its own, which may crash. `smallest`
finds the smallest part that goes wrong, `script` writes it down.
"""
