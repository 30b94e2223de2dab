"""The quantised graphs of the tests of fixed point."""

from tests.fixedpoint.conftest import graph  # noqa: F401 - a fixture
