// Feeds rows of 32-bit words from a file into a design, one every INTERVAL cycles, and writes or compares the words that leave it. Where
// the interval is more than one, some events come late, and in_ready has to say when the next one may enter. Every result has to leave
// LATENCY cycles after its event entered.
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
    size_t sent = 0, cycles = 0, wrong_latency = 0;
    uint64_t next = 0;  // the first cycle in which another event may enter
    std::vector<uint64_t> entered(rows);
    uint32_t word[out + 2];
    for (; outputs.size() < rows * out && cycles < (rows + 8) * (INTERVAL + 2) + LATENCY; ++cycles) {
        const bool is_late = INTERVAL > 1 && sent % 8 == 7 && cycles < next + sent % 5;
        design.in_valid = sent < rows && !is_late;
        // room for a port that is wider than its last word
        std::vector<uint32_t> row(in + 2, design.in_valid ? 0 : ~0u);
        if (design.in_valid) std::memcpy(row.data(), &inputs[sent * in], in * 4);
        load(design.inputs, row.data());
        design.clk = 0;
        design.eval();
#if INTERVAL > 1
        if (design.in_ready != (cycles >= next)) {
            std::fprintf(stderr, "in_ready is %d in cycle %zu, and an event may enter from cycle %zu on\n", design.in_ready, cycles, size_t(next));
            return 1;
        }
#endif
        if (design.in_valid && cycles >= next) {
            entered[sent++] = cycles;
            next = cycles + INTERVAL;
        }
        design.clk = 1;
        design.eval();
        if (design.out_valid) {
            const size_t number = outputs.size() / out;
            if (number >= sent || cycles + 1 - entered[number] != LATENCY) ++wrong_latency;
            std::memset(word, 0, sizeof word);
            store(design.outputs, word);
            outputs.insert(outputs.end(), word, word + out);
        }
    }
    if (outputs.size() != rows * out) {
        std::fprintf(stderr, "%zu of %zu results left the design\n", outputs.size() / out, rows);
        return 1;
    }
    if (wrong_latency) {
        std::fprintf(stderr, "%zu of %zu results did not leave %d cycles after their event\n", wrong_latency, rows, LATENCY);
        return 1;
    }
    FILE* file = std::fopen(argv[2], "wb");
    if (!file || std::fwrite(outputs.data(), 4, outputs.size(), file) != outputs.size() || std::fclose(file)) {
        std::perror(argv[2]);
        return 2;
    }
    std::printf("%zu events, every result after %d cycles, an event every %d cycles\n", rows, LATENCY, INTERVAL);
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
