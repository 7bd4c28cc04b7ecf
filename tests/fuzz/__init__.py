"""Fuzzing of the pure parts with atheris: each target is one module, which opens with its invariant.

tests/fuzz/run TARGET goes on until it finds something or is stopped; test_fuzz.py runs each target for a bounded
number of inputs, and once more for each bug of plants.py, which it must find. Seeds are in tests/data/fuzz/TARGET.
"""
