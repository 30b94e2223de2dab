"""The C simulation of an hls4ml project: a testbench that reads and writes rows of numbers, and the files that compile it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tamis.firmware.hls.graph import HlsSignature
from tamis.firmware.tools import run_tool, tool

HLS_MAKEFILE = """# make: compile the C simulation with the headers of hls4ml and compare the golden events with the bundle, bit by bit.
# Debian: apt-get install make g++
CXX ?= g++
CXXFLAGS ?= -O1

check: build/csim
\tbuild/csim csim/inputs.bin build/outputs.bin csim/outputs.bin

build/csim: csim/csim.cpp firmware/{name}.cpp $(wildcard firmware/*.h firmware/weights/*.h)
\tmkdir -p build
\t$(CXX) $(CXXFLAGS) -std=c++17 -w -Ifirmware/ap_types -I. csim/csim.cpp firmware/{name}.cpp -o build/csim

clean:
\trm -rf build

.PHONY: check clean
"""

TESTBENCH = """// C simulation: csim INPUTS OUTPUTS [EXPECTED], files of rows of 64-bit floats. Exit code 1 if a number differs from EXPECTED.
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "firmware/{name}.h"

namespace nnet {{
bool trace_enabled = false;
std::map<std::string, void *> *trace_outputs = nullptr;
size_t trace_type_size = sizeof(double);
}} // namespace nnet

static const size_t INPUTS = {inputs};
static const size_t OUTPUTS = {outputs};

template <class T> static const double *read(const double *from, T *to, size_t count) {{
    for (size_t i = 0; i < count; i++) to[i] = from[i];
    return from + count;
}}

template <class T> static double *write(const T *from, double *to, size_t count) {{
    for (size_t i = 0; i < count; i++) to[i] = from[i].to_double();
    return to + count;
}}

static void event(const double *inputs, double *outputs) {{
{body}
}}

static std::vector<double> load(const char *path) {{
    std::vector<double> numbers;
    FILE *file = std::fopen(path, "rb");
    if (file == nullptr) {{
        std::fprintf(stderr, "error: cannot open %s\\n", path);
        return numbers;
    }}
    std::fseek(file, 0, SEEK_END);
    numbers.resize(std::ftell(file) / sizeof(double));
    std::rewind(file);
    if (std::fread(numbers.data(), sizeof(double), numbers.size(), file) != numbers.size()) numbers.clear();
    std::fclose(file);
    return numbers;
}}

int main(int argc, char **argv) {{
    if (argc < 3) return 2;
    const std::vector<double> inputs = load(argv[1]);
    const size_t events = inputs.size() / INPUTS;
    std::vector<double> outputs(events * OUTPUTS);
    for (size_t i = 0; i < events; i++) event(&inputs[i * INPUTS], &outputs[i * OUTPUTS]);
    FILE *file = std::fopen(argv[2], "wb");
    if (file == nullptr || std::fwrite(outputs.data(), sizeof(double), outputs.size(), file) != outputs.size()) return 2;
    std::fclose(file);
    if (argc < 4) return 0;
    const std::vector<double> expected = load(argv[3]);
    size_t wrong = expected.size() == outputs.size() ? 0 : outputs.size();
    for (size_t i = 0; i < outputs.size() && i < expected.size(); i++) wrong += outputs[i] != expected[i];
    std::printf("%zu events, %zu numbers, %zu differ\\n", events, outputs.size(), wrong);
    return wrong != 0 || events == 0;
}}
"""


def write_simulation(folder: Path, name: str, signature: HlsSignature) -> None:
    """Write the testbench and the Makefile into a project."""
    lines = []
    for kind, port, size in (*signature.inputs, *signature.outputs):
        lines.append(f"    static {kind} {port}[{size}];")
    lines += [f"    inputs = read(inputs, {port}, {size});" for _, port, size in signature.inputs]
    ports = ", ".join(port for _, port, _ in (*signature.inputs, *signature.outputs))
    lines.append(f"    {name}({ports});")
    lines += [f"    outputs = write({port}, outputs, {size});" for _, port, size in signature.outputs]
    text = TESTBENCH.format(
        name=name,
        inputs=sum(size for *_, size in signature.inputs),
        outputs=sum(size for *_, size in signature.outputs),
        body="\n".join(lines),
    )
    (folder / "csim").mkdir()
    (folder / "csim" / "csim.cpp").write_text(text, encoding="utf-8")
    (folder / "Makefile").write_text(HLS_MAKEFILE.format(name=name), encoding="utf-8")


def compile_simulation(folder: Path) -> None:
    """Compile the C simulation as its user does."""
    tool("g++", "g++", "compile the C simulation")
    run_tool([tool("make", "make g++", "compile the C simulation"), "build/csim"], folder)


def simulate(folder: Path, rows: np.ndarray) -> np.ndarray:
    """Return the outputs of the C simulation for rows of inputs."""
    inputs, outputs = folder / "build" / "rows.bin", folder / "build" / "results.bin"
    rows.astype("<f8").tofile(inputs)
    program = folder / "build" / "csim"
    run_tool([str(path.resolve()) for path in (program, inputs, outputs)], folder)
    return np.fromfile(outputs, "<f8").reshape(len(rows), -1)


def compiler_version(folder: Path) -> str:
    """Return the version line of the compiler."""
    return run_tool([tool("g++", "g++", "compile the C simulation"), "--version"], folder).splitlines()[0]
