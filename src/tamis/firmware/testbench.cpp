// Feeds rows of 32-bit words from a file into a design at every clock, and writes or compares the words that leave it.
// Usage: simulate INPUTS OUTPUTS [EXPECTED]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "Vdesign.h"
#include "verilated.h"

template <typename Port> static void load(Port& port, const uint32_t* words) { std::memcpy(&port, words, sizeof(Port)); }
template <typename Port> static void store(const Port& port, uint32_t* words) { std::memcpy(words, &port, sizeof(Port)); }

static std::vector<uint32_t> read(const char* path) {
    FILE* file = std::fopen(path, "rb");
    if (!file) { std::perror(path); std::exit(2); }
    std::fseek(file, 0, SEEK_END);
    std::vector<uint32_t> words(std::ftell(file) / 4);
    std::rewind(file);
    if (std::fread(words.data(), 4, words.size(), file) != words.size()) { std::perror(path); std::exit(2); }
    std::fclose(file);
    return words;
}

int main(int argc, char** argv) {
    if (argc < 3) { std::fprintf(stderr, "usage: %s INPUTS OUTPUTS [EXPECTED]\n", argv[0]); return 2; }
    constexpr size_t in = INPUT_WORDS, out = OUTPUT_WORDS;
    std::vector<uint32_t> inputs = read(argv[1]), outputs;
    const size_t rows = inputs.size() / in;
    Vdesign design;
    size_t sent = 0, cycles = 0, first = 0;
    uint32_t word[out + 2];
    for (; outputs.size() < rows * out && cycles < rows + MAX_LATENCY; ++cycles) {
        design.in_valid = sent < rows;
        // room for a port that is wider than its last word
        std::vector<uint32_t> row(in + 2, 0);
        if (sent < rows) std::memcpy(row.data(), &inputs[sent * in], in * 4);
        load(design.inputs, row.data());
        sent += sent < rows;
        design.clk = 0;
        design.eval();
        design.clk = 1;
        design.eval();
        if (design.out_valid) {
            if (outputs.empty()) first = cycles + 1;
            std::memset(word, 0, sizeof word);
            store(design.outputs, word);
            outputs.insert(outputs.end(), word, word + out);
        }
    }
    if (outputs.size() != rows * out) {
        std::fprintf(stderr, "%zu of %zu results left the design\n", outputs.size() / out, rows);
        return 1;
    }
    FILE* file = std::fopen(argv[2], "wb");
    if (!file || std::fwrite(outputs.data(), 4, outputs.size(), file) != outputs.size() || std::fclose(file)) {
        std::perror(argv[2]);
        return 2;
    }
    std::printf("%zu events, the first result after %zu cycles\n", rows, first);
    if (argc > 3) {
        std::vector<uint32_t> expected = read(argv[3]);
        size_t wrong = 0;
        for (size_t row = 0; row < rows; ++row)
            wrong += std::memcmp(&expected[row * out], &outputs[row * out], out * 4) != 0;
        std::printf(wrong ? "FAILED: %zu events differ\n" : "PASSED: every bit of %zu events agrees\n", wrong ? wrong : rows);
        return wrong != 0;
    }
    return 0;
}
