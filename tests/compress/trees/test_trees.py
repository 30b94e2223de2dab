"""Students of trees: integers all the way, better than the prior, the same bits in every engine and in the emulated firmware."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import ModelError, TargetNotMetError, UsageError
from tamis.bundle import Bundle
from tamis.compress import TreeOptions, to_trees
from tamis.compress.trees.codes import Codes
from tamis.compress.trees.graph import balanced, find_head
from tamis.compress.trees.growth import CrossEntropy, SquaredError, grow_trees
from tamis.compress.trees.leaves import IntegerLeaves
from tamis.firmware.emulator import Emulator

SMALL = TreeOptions(size=(6, 3), passes=1, epochs=4)


@pytest.fixture(scope="module")
def student(tagger, rows_file, tmp_path_factory):
    """Six trees of three levels instead of the tagger."""
    return to_trees(tagger, tmp_path_factory.mktemp("trees") / "bdt.tamis", [str(rows_file)], SMALL)


@pytest.fixture
def drawn(rows_of):
    """Return rows and their classes."""
    return rows_of(3000, 5)


def test_a_student_has_the_signature_of_its_parent_and_a_card(student, tagger):
    bundle = student.bundle
    assert bundle.manifest.parent.name == tagger.name
    assert [spec.name for spec in bundle.manifest.signature.outputs] == [
        spec.name for spec in tagger.manifest.signature.outputs
    ]
    assert set(bundle.manifest.working_points) == set(tagger.manifest.working_points)
    card = (bundle.path / "CARD.md").read_text()
    assert "6 trees with 3 questions" in card
    assert "accuracy" in card
    figure = student.figures["accuracy"]
    assert 0.3 < figure.value < figure.parent  # five classes
    assert figure.low < figure.value < figure.high


def test_every_engine_and_the_emulated_firmware_give_the_same_bits(student, drawn):
    bundle = student.bundle
    rows = {"x": drawn[0][:500]}
    with tamis.open(str(bundle.path), engine="onnxruntime") as session:
        expected = session.run(**rows)
    with tamis.open(str(bundle.path), engine="firmware") as session:
        found = session.run(**rows)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_the_program_is_integers_of_the_bits_asked_for(student):
    bundle = student.bundle
    program = Emulator(bundle.model, {"x": bundle.golden.inputs["x"][:1]}).graph.program
    (one,) = program.inputs
    assert (one.low.min(), one.high.max()) == (0, 2**7 - 1)
    (trees,) = program.steps  # no bias of its own
    step = student.facts["step"]
    leaves = trees.forest.leaves / step
    np.testing.assert_array_equal(leaves, np.rint(leaves))
    assert (leaves[:, 0] == 0).all()  # the first class is the reference
    owners = trees.forest.owners()
    widths = [np.ptp(leaves[owners == tree], axis=0).max() for tree in range(6)]
    assert max(widths) <= 7  # three bits


def test_more_passes_fit_better(drawn):
    x, label = drawn
    codes, goal = Codes.of(x, 6)(x), CrossEntropy(np.eye(5)[label])

    def loss(passes):
        trees = grow_trees(codes, goal, (4, 3), passes, 1)
        sums = goal.start + sum(tree.leaves[tree.reached(codes)] for tree in trees)
        odds = np.exp(np.concatenate([np.zeros((len(x), 1)), sums], 1))
        return -np.log(odds[np.arange(len(x)), label] / odds.sum(1)).mean()

    assert loss(2) < loss(0) - 0.005


def test_numbers_are_learned_as_well():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 3))
    y = (x[:, :1] > 0) * 2.0 + (x[:, 1:2] > 1)
    goal = SquaredError(y)
    codes = Codes.of(x, 6)(x)
    trees = grow_trees(codes, goal, (6, 2), 1, 1)
    sums = goal.start + sum(tree.leaves[tree.reached(codes)] for tree in trees)
    assert np.corrcoef(sums[:, 0], y[:, 0])[0, 1] > 0.99


def test_codes_are_exact_multiples_of_powers_of_two_and_cover_the_bulk():
    x = np.random.default_rng(2).normal(size=(5000, 2)) * [1e-3, 200.0] + [5.0, 1000.0]
    codes = Codes.of(x.astype(np.float32), 6)
    found = codes(x)
    assert found.min() >= 0
    assert found.max() <= 63
    assert ((found > 0) & (found < 63)).mean() > 0.9
    edges = np.ldexp(codes.offset + 7, -codes.fraction)[None]
    np.testing.assert_array_equal(codes(edges), [[7, 7]])
    np.testing.assert_array_equal(codes(np.nextafter(edges, -np.inf)), [[6, 6]])
    np.testing.assert_array_equal(codes(np.full((1, 2), np.nan)), [[0, 0]])


def test_a_bias_hides_in_the_leaves():
    rng = np.random.default_rng(3)
    integers = rng.integers(0, 8, (5, 4, 2))
    integers -= integers.min(axis=1, keepdims=True)
    before = IntegerLeaves(integers, np.array([-13, 2]), 0.25)
    after = balanced(before)
    assert not after.bias.any()
    change = after.integers - integers
    assert (change == change[:, :1]).all()  # of whole trees
    np.testing.assert_array_equal(change[:, 0].sum(0), [-13, 2])


def test_an_unreachable_target_writes_nothing(tagger, rows_file, tmp_path):
    options = TreeOptions(size=(2, 2), passes=0, epochs=2, target="accuracy > parent")
    with pytest.raises(
        TargetNotMetError, match=r"the trees do not meet the target accuracy > parent, .* they have accuracy"
    ):
        to_trees(tagger, tmp_path / "bdt.tamis", [str(rows_file)], options)
    assert not (tmp_path / "bdt.tamis").exists()


def test_the_score_alone(tagger, rows_file, tmp_path):
    options = TreeOptions(size=(6, 3), passes=0, epochs=2, score_only=True)
    made = to_trees(tagger, tmp_path / "bdt.tamis", [str(rows_file)], options)
    assert [spec.name for spec in Bundle.open(made.bundle.path).manifest.signature.outputs] == [
        tagger.manifest.score
    ]
    assert "accuracy" not in made.figures
    assert made.figures["auc"].value > 0.55


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (3,)}, "the size of a student of trees is 3; expected"),
        ({"size": (3, 11)}, "levels, up to 10"),
        ({"weights": 13}, "leaves .* have 13 bits; expected 1 to 12"),
        ({"inputs": 1}, "inputs of trees have 1 bits"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UsageError, match=message):
        TreeOptions(**options)


def test_a_model_without_probabilities_or_score(tagger):
    manifest = tagger.manifest.model_copy(update={"score": None})
    with pytest.raises(ModelError, match="neither probabilities after a Softmax or Sigmoid nor a score"):
        find_head(tagger.model, manifest, score_only=True)
