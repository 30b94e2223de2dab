"""Products of matrices that both belong to the event, in C."""

from __future__ import annotations

from contextlib import ExitStack

from tamis.native.emission.loops import tiles
from tamis.native.emission.mode import Mode
from tamis.native.emission.writer import Writer
from tamis.native.program import Product
from tamis.native.view import View


def emit_product(writer: Writer, mode: Mode, statement: Product) -> None:
    """Write out[b, m, n] = sum over k of left[b, m, k] right[b, k, n]: blocks of sums in registers, k in order."""
    left, right, out = statement.left, statement.right, statement.out
    if not mode.wide and out.strides[2] != 1 and out.strides[1] == 1:
        # turn it round, so that vectors lie along what lies one behind the other
        left, right, out = right.permute((0, 2, 1)), left.permute((0, 2, 1)), out.permute((0, 2, 1))
    _Product(writer, mode, left, right, out).write()


class _Product:
    def __init__(self, writer: Writer, mode: Mode, left: View, right: View, out: View) -> None:
        self.writer, self.mode = writer, mode
        self.left, self.right, self.out = left, right, out
        self.batch, self.rows, self.columns = out.shape
        self.terms = left.shape[2]
        self.lanes = 1 if mode.wide else mode.lanes

    def write(self) -> None:
        """Go through the batch, the events and blocks."""
        writer, mode = self.writer, self.mode
        room = 24 if mode.target.registers >= 32 else 12
        units = -(-self.columns // self.lanes)
        wide = min(units, 4)
        tall = max(1, min(self.rows, room // wide))
        with ExitStack() as stack:
            stack.enter_context(writer.loop("b", self.batch))
            if mode.wide:
                stack.enter_context(writer.loop("v", mode.count))
            else:
                stack.enter_context(writer.loop("v", mode.count))
            row = 0
            for count, height in tiles(self.rows, tall):
                with writer.loop("m", count):
                    column = 0
                    for times, width in tiles(units, wide):
                        last = column + times * width == units and self.columns % self.lanes
                        for begin, number in (
                            [(0, times - 1), (times - 1, 1)] if last and times > 1 else [(0, times)]
                        ):
                            with writer.loop("n", number):
                                short = bool(last) and begin + number == times
                                self._block(row, height, column + begin * width, width, short)
                        column += times * width
                row += count * height

    def _address(self, view: View, parts: list[tuple[str, int]]) -> str:
        mode = self.mode
        factor = mode.factor(view)
        event = (0 if mode.is_constant(view) else mode.lanes) if mode.wide else mode.event_stride(view)
        terms = [mode.base(view), f"b * {view.strides[0] * factor}", f"v * {event}"]
        terms += [f"{name} * {stride * factor}" for name, stride in parts if stride]
        return " + ".join(terms)

    def _block(self, row: int, height: int, column: int, width: int, short: bool) -> None:
        writer, mode, lanes = self.writer, self.mode, self.lanes
        left, right, out = self.left, self.right, self.out
        rest = self.columns % lanes if short else 0
        above = [("m", left.strides[1] * height), (str(row), left.strides[1])]
        beside = [("n", right.strides[2] * width * lanes), (str(column * lanes), right.strides[2])]
        writer.line(f"const float *l = {self._address(left, above)};")
        writer.line(f"const float *r = {self._address(right, beside)};")
        for i in range(height):
            for j in range(width):
                writer.line(f"V a{i}_{j} = all(0.0f);")
        one, other = mode.factor(left), mode.factor(right)
        with writer.loop("k", self.terms):
            for j in range(width):
                place = f"r + k * {right.strides[1] * other} + {j * lanes * right.strides[2] * other}"
                writer.line(
                    f"V v{j} = {self._vector(right, place, right.strides[2], rest if j == width - 1 else 0)};"
                )
                if height > 1:
                    writer.line(f"TAMIS_KEEP(v{j});")
            for i in range(height):
                place = f"l + k * {left.strides[2] * one} + {i * left.strides[1] * one}"
                number = f"ld({place})" if mode.wide and not mode.is_constant(left) else f"all(*({place}))"
                writer.line(f"const V u{i} = {number};")
                for j in range(width):
                    writer.line(f"a{i}_{j} = fma_(u{i}, v{j}, a{i}_{j});")
        own = [("m", out.strides[1] * height), (str(row), out.strides[1])]
        own += [("n", out.strides[2] * width * lanes), (str(column * lanes), out.strides[2])]
        writer.line(f"float *o = {self._address(out, own)};")
        step = mode.factor(out)
        for i in range(height):
            for j in range(width):
                place = f"o + {(i * out.strides[1] + j * lanes * out.strides[2]) * step}"
                count = rest if rest and j == width - 1 else mode.lanes
                if mode.wide or (out.strides[2] == 1 and count == mode.lanes):
                    writer.line(f"st({place}, a{i}_{j});")
                elif out.strides[2] == 1:
                    writer.line(f"st_n({place}, a{i}_{j}, {count});")
                else:
                    writer.line(f"scatter({place}, a{i}_{j}, {out.strides[2]}, {count});")

    def _vector(self, view: View, place: str, stride: int, rest: int) -> str:
        if self.mode.wide:
            return f"all(*({place}))" if self.mode.is_constant(view) else f"ld({place})"
        if not stride:
            return f"all(*({place}))"
        if stride == 1:
            return f"ld_n({place}, {rest})" if rest else f"ld({place})"
        return f"gather({place}, {stride}, {rest or self.mode.lanes})"
