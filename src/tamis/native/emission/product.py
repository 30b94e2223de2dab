"""Products of two matrices that both depend on the event, in C."""

from __future__ import annotations

from contextlib import ExitStack

from tamis.native.emission.loops import tiles
from tamis.native.emission.mode import Mode
from tamis.native.emission.tuning import PRODUCT_VECTORS
from tamis.native.emission.writer import Emission, Writer, emit_statement
from tamis.native.program import Product
from tamis.native.sizes import is_fixed, typical
from tamis.native.view import View


@emit_statement.register
def emit_product(statement: Product, emission: Emission) -> None:
    """Write out[b, m, n] = sum over k of left[b, m, k] right[b, k, n]: blocks of sums in registers, k in order."""
    writer, mode = emission.writer, emission.mode
    left, right, out = statement.left, statement.right, statement.out
    if not mode.wide and out.strides[2] != 1 and out.strides[1] == 1:
        # transpose, so that vectors are contiguous in the output
        left, right, out = right.permute((0, 2, 1)), left.permute((0, 2, 1)), out.permute((0, 2, 1))
    _MatrixProduct(writer, mode, left, right, out).write()


class _MatrixProduct:
    """Writes the loops and blocks of a product."""

    def __init__(self, writer: Writer, mode: Mode, left: View, right: View, out: View) -> None:
        self.writer, self.mode = writer, mode
        self.left, self.right, self.out = left, right, out
        self.batch, self.rows, self.columns = out.shape
        self.terms = left.shape[2]
        self.lanes = 1 if mode.wide else mode.lanes

    def write(self) -> None:
        """Write the loops over the batch, the events, rows and columns."""
        writer, mode = self.writer, self.mode
        units = -(-self.columns // self.lanes) if is_fixed(self.columns) else self.columns // self.lanes
        wide = max(1, min(typical(units), PRODUCT_VECTORS))
        tall = max(1, min(typical(self.rows), mode.target.sums // wide))
        with ExitStack() as stack:
            stack.enter_context(writer.loop("b", self.batch))
            stack.enter_context(writer.loop("v", mode.count))
            row = 0
            for count, height in tiles(self.rows, tall):
                with writer.loop("m", count):
                    column = 0
                    for times, width in tiles(units, wide):
                        partial = (
                            is_fixed(self.columns)
                            and column + times * width == units
                            and self.columns % self.lanes
                        )
                        for begin, number in (
                            [(0, times - 1), (times - 1, 1)] if partial and times > 1 else [(0, times)]
                        ):
                            with writer.loop("n", number):
                                short = bool(partial) and begin + number == times
                                self._block(row, height, column + begin * width, width, short)
                        column += times * width
                    rest = self.columns % self.lanes
                    if not is_fixed(self.columns) and rest:
                        with writer.where(rest), writer.loop("n", 1):
                            self._block(row, height, column, 1, True)
                row += count * height

    def _address(self, view: View, parts: list[tuple[str, int]]) -> str:
        mode = self.mode
        factor = mode.factor(view)
        event = (0 if mode.is_constant(view) else mode.lanes) if mode.wide else mode.event_stride(view)
        terms = [mode.base(view), f"b * {view.strides[0] * factor}", f"v * {event}"]
        terms += [f"{name} * {stride * factor}" for name, stride in parts if stride]
        return " + ".join(terms)

    def _block(self, row: int, height: int, column: int, width: int, short: bool) -> None:
        """Write a block of `height` rows by `width` vectors of columns; `short`: its last vector is not full."""
        writer, mode, lanes = self.writer, self.mode, self.lanes
        left, right, out = self.left, self.right, self.out
        rest = self.columns % lanes if short else 0
        left_parts = [("m", left.strides[1] * height), (str(row), left.strides[1])]
        right_parts = [("n", right.strides[2] * width * lanes), (str(column * lanes), right.strides[2])]
        writer.line(f"const float *l = {self._address(left, left_parts)};")
        writer.line(f"const float *r = {self._address(right, right_parts)};")
        for i in range(height):
            for j in range(width):
                writer.line(f"V a{i}_{j} = all(0.0f);")
        left_factor, right_factor = mode.factor(left), mode.factor(right)
        with writer.loop("k", self.terms):
            for j in range(width):
                moved = j * lanes * right.strides[2] * right_factor
                address = f"r + k * {right.strides[1] * right_factor} + {moved}"
                writer.line(
                    f"V v{j} = {self._vector(right, address, right.strides[2], rest if j == width - 1 else 0)};"
                )
                if height > 1:
                    writer.line(f"TAMIS_KEEP(v{j});")
            for i in range(height):
                address = f"l + k * {left.strides[2] * left_factor} + {i * left.strides[1] * left_factor}"
                number = (
                    f"ld({address})" if mode.wide and not mode.is_constant(left) else f"all(*({address}))"
                )
                writer.line(f"const V u{i} = {number};")
                for j in range(width):
                    writer.line(f"a{i}_{j} = fma_(u{i}, v{j}, a{i}_{j});")
        out_parts = [("m", out.strides[1] * height), (str(row), out.strides[1])]
        out_parts += [("n", out.strides[2] * width * lanes), (str(column * lanes), out.strides[2])]
        writer.line(f"float *o = {self._address(out, out_parts)};")
        factor = mode.factor(out)
        for i in range(height):
            for j in range(width):
                address = f"o + {(i * out.strides[1] + j * lanes * out.strides[2]) * factor}"
                count = rest if rest and j == width - 1 else mode.lanes
                if mode.wide or (out.strides[2] == 1 and count == mode.lanes):
                    writer.line(f"st({address}, a{i}_{j});")
                elif out.strides[2] == 1:
                    writer.line(f"st_n({address}, a{i}_{j}, {count});")
                else:
                    writer.line(f"scatter({address}, a{i}_{j}, {out.strides[2]}, {count});")

    def _vector(self, view: View, address: str, stride: int, rest: int) -> str:
        if self.mode.wide:
            return f"all(*({address}))" if self.mode.is_constant(view) else f"ld({address})"
        if not stride:
            return f"all(*({address}))"
        if stride == 1:
            return f"ld_n({address}, {rest})" if rest else f"ld({address})"
        return f"gather({address}, {stride}, {rest or self.mode.lanes})"
