from __future__ import annotations

from quickbeam.native import compile_model, example_event, listing


def test_a_program_is_listed_line_by_line(bundle_of):
    bundle = bundle_of("dense")
    lines = listing(compile_model(bundle.model, example_event(bundle)).narrow).splitlines()
    assert lines[0] == "input x: 12 floats"
    assert lines[-1] == "output score: 1 floats"
    assert any("in x[" in line and "weights(12 x 8)" in line and "relu(sum)" in line for line in lines)
    assert any("out score[1, 1]" in line and "sigmoid" in line for line in lines)


def test_the_body_of_a_loop_is_moved_in(bundle_of):
    bundle = bundle_of("deep-jet")
    lines = listing(compile_model(bundle.model, example_event(bundle)).narrow).splitlines()
    (first,) = [i for i, line in enumerate(lines) if line.endswith("loop 7 times")]
    assert lines[first + 1].startswith("       ")
    assert any("per turn" in line for line in lines)
