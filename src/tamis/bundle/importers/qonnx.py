"""QONNX models, as Brevitas, QKeras and others write them: their quantisers become plain ONNX operators.

Each quantiser computes in float32 what QONNX's own implementation does; those of constants, such as weights, are computed here.
See the definitions in github.com/fastmachinelearning/qonnx, docs/qonnx-custom-ops.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tamis._base import ModelError
from tamis.bundle.reference import evaluate_node

DOMAINS = frozenset(["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"])
LEAST_OPSET = 11  # Round, and Clip with inputs
QUANTISER_BITS = 32
# Mode: what computes it of `v`, as operators on the results of those before.
QONNX_ROUNDINGS: dict[str, tuple[str, ...]] = {
    "ROUND": ("Round",),
    "HALF_EVEN": ("Round",),
    "FLOOR": ("Floor",),
    "CEIL": ("Ceil",),
    "UP": ("Abs", "Ceil", "Sign"),
    "DOWN": ("Abs", "Floor", "Sign"),
    "HALF_UP": ("Abs", "Half", "Floor", "Sign"),
    "HALF_DOWN": ("Abs", "MinusHalf", "Ceil", "Sign"),
}


def is_qonnx(model: onnx.ModelProto) -> bool:
    """Return whether a graph has quantisers of QONNX."""
    return any(node.domain in DOMAINS for node in model.graph.node)


def expand_qonnx(model: onnx.ModelProto, place: str) -> onnx.ModelProto:
    """Return the model with plain operators instead of quantisers."""
    return _Expansion(model, place).run()


class _Expansion:
    """One pass over the nodes."""

    def __init__(self, model: onnx.ModelProto, place: str) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.place = place
        self.graph = self.model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.added: dict[str, np.ndarray] = {}

    def run(self) -> onnx.ModelProto:
        """Expand every quantiser; what depends on constants alone becomes constant."""
        opset = max(
            (one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")), default=1
        )
        if opset < LEAST_OPSET:
            raise ModelError(
                f"{self.place} has the ONNX opset {opset}; export it with {LEAST_OPSET} or later"
            )
        for node in self.graph.node:
            if node.domain not in DOMAINS:
                self._append(node)
            elif node.op_type in ("Quant", "IntQuant"):
                self._quant(node)
            elif node.op_type == "BipolarQuant":
                self._bipolar(node)
            elif node.op_type == "Trunc":
                self._trunc(node)
            else:
                raise ModelError(
                    f"{self.place}: {node.op_type} of {node.output[0]!r} ({node.domain}) is not supported; supported are Quant, "
                    "BipolarQuant and Trunc"
                )
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input} | {one.name for one in self.graph.output}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        kept += [numpy_helper.from_array(array, name) for name, array in self.added.items() if name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        names = {tensor.name for tensor in kept}
        inputs = [one for one in self.graph.input if one.name not in names and one.name not in self.constants]
        del self.graph.input[:]
        self.graph.input.extend(inputs)
        del self.graph.value_info[:], self.graph.quantization_annotation[:]
        standard = [one for one in self.model.opset_import if one.domain not in DOMAINS]
        del self.model.opset_import[:]
        self.model.opset_import.extend(standard)
        return self.model

    def _append(self, node: onnx.NodeProto) -> None:
        """Append a plain node, or compute it."""
        names = [name for name in node.input if name]
        if not all(name in self.constants for name in names):
            self.nodes.append(node)
            return
        results = evaluate_node(node, [self.constants.get(name) for name in node.input], self.model)
        for name, array in zip(node.output, results, strict=False):
            self.constants[name] = self.added[name] = array

    def _make(self, operator: str, inputs: Sequence[str], output: str) -> str:
        self._append(helper.make_node(operator, list(inputs), [output]))
        return output

    def _constant(self, name: str, value: np.ndarray | float) -> str:
        self.constants[name] = self.added[name] = np.asarray(value, np.float32)
        return name

    def _float32(self, name: str) -> str:
        """Return the name of a parameter in float32: QKeras' converter writes scales in float64 and zero points as integers."""
        value = self.constants.get(name)
        if value is None or value.dtype == np.float32:
            return name
        return self._constant(f"{name}/float32", value)

    def _known(self, node: onnx.NodeProto, index: int, what: str) -> np.ndarray:
        """Return a parameter of a quantiser, which has to be constant."""
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.constants:
            raise ModelError(
                f"{self.place}: {what} of the quantiser {node.output[0]!r} is not constant; export with fixed scales"
            )
        return np.asarray(self.constants[name])

    def _bounds(
        self, node: onnx.NodeProto, bits: np.ndarray, signed: int, narrow: int
    ) -> tuple[float, float]:
        width = float(bits.ravel()[0]) if bits.size else 0.0
        if not 1 <= width <= QUANTISER_BITS or width != int(width) or (bits != width).any():
            raise ModelError(
                f"{self.place}: the quantiser {node.output[0]!r} has {bits.tolist()} bits; supported is one integer from 1 to {QUANTISER_BITS}"
            )
        if signed:
            return -(2.0 ** (width - 1)) + narrow, 2.0 ** (width - 1) - 1
        return 0.0, 2.0**width - 1 - narrow

    def _quant(self, node: onnx.NodeProto) -> None:
        """Y = (round(clip(x / scale + zero)) - zero) * scale; clipping to integers and rounding commute."""
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        signed, narrow = attributes.get("signed", 1), attributes.get("narrow", 0)
        bits = self._known(node, 3, "the width")
        out = node.output[0]
        if bits.size and float(bits.ravel()[0]) == 1 and signed:
            self._bipolar(node)
            return
        zero = self._known(node, 2, "the zero point")
        scale, shift = self._float32(node.input[1]), self._float32(node.input[2])
        value = self._make("Div", [node.input[0], scale], f"{out}/scaled")
        if zero.any():
            value = self._make("Add", [value, shift], f"{out}/shifted")
        value = self._rounded(value, attributes.get("rounding_mode", b"ROUND").decode().upper(), out)
        low, high = self._bounds(node, bits, signed, narrow)
        value = self._clipped(value, low, high, out)
        if zero.any():
            value = self._make("Sub", [value, shift], f"{out}/unshifted")
        self._make("Mul", [value, scale], out)

    def _bipolar(self, node: onnx.NodeProto) -> None:
        """Y = scale where x >= 0, else -scale: of floor(x), clipped to -1 and 0."""
        out = node.output[0]
        floor = self._make("Floor", [node.input[0]], f"{out}/floor")
        sign = self._clipped(floor, -1.0, 0.0, out)
        double = self._make("Mul", [sign, self._constant(f"{out}/two", 2.0)], f"{out}/double")
        one = self._make("Add", [double, self._constant(f"{out}/one", 1.0)], f"{out}/sign")
        self._make("Mul", [one, self._float32(node.input[1])], out)

    def _trunc(self, node: onnx.NodeProto) -> None:
        """Drop low bits of integers: Trunc of version 1 takes the widths before and after, version 2 the scale after as well."""
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        mode = attributes.get("rounding_mode", b"FLOOR").decode().upper()
        scale, zero, width = (
            self._known(node, index, what).astype(np.float64)
            for index, what in ((1, "the scale"), (2, "the zero point"), (3, "the width"))
        )
        out = node.output[0]
        if len(node.input) > 5:
            after = self._known(node, 4, "the scale after").astype(np.float64)
            drop = 2.0 ** np.round(np.log2(after / scale))
            bounds = self._bounds(
                node,
                self._known(node, 5, "the width after"),
                attributes.get("signed", 1),
                attributes.get("narrow", 0),
            )
        else:
            drop = 2.0 ** (width - self._known(node, 4, "the width after"))
            after, bounds = scale, None
        value = self._make("Div", [node.input[0], self._float32(node.input[1])], f"{out}/scaled")
        value = self._make("Add", [value, self._float32(node.input[2])], f"{out}/shifted")
        value = self._make("Round", [value], f"{out}/integers")
        value = self._make("Div", [value, self._constant(f"{out}/drop", drop)], f"{out}/dropped")
        value = self._rounded(value, mode, out)
        if bounds is not None:
            value = self._clipped(value, *bounds, out)
        zero_after = zero / drop if bounds is not None else zero
        value = self._make("Sub", [value, self._constant(f"{out}/zero", zero_after)], f"{out}/unshifted")
        self._make("Mul", [value, self._constant(f"{out}/scale", after)], out)

    def _rounded(self, value: str, mode: str, out: str) -> str:
        if mode not in QONNX_ROUNDINGS:
            raise ModelError(
                f"{self.place}: the quantiser {out!r} rounds by {mode!r}; supported are {', '.join(QONNX_ROUNDINGS)}"
            )
        signed = value
        for index, operator in enumerate(QONNX_ROUNDINGS[mode]):
            result = f"{out}/rounded{index}"
            if operator == "Sign":
                sign = self._make("Sign", [signed], f"{out}/sign_of_value")
                value = self._make("Mul", [sign, value], result)
            elif operator in ("Half", "MinusHalf"):
                half = self._constant(f"{out}/half", 0.5)
                value = self._make("Add" if operator == "Half" else "Sub", [value, half], result)
            else:
                value = self._make(operator, [value], result)
        return value

    def _clipped(self, value: str, low: float, high: float, out: str) -> str:
        bounds = [self._constant(f"{out}/low", low), self._constant(f"{out}/high", high)]
        return self._make("Clip", [value, *bounds], f"{out}/clipped")
