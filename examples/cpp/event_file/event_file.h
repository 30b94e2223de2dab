// The events of the examples: a binary file that numpy writes with `tofile`.
// For each event: the number of jets and of calorimeter channels; the number of constituents of each jet; then floats.
#pragma once
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

struct Jets {
    std::vector<std::size_t> offsets{0};  // jet i has the constituents from offsets[i] to below offsets[i + 1]
    std::vector<float> constituents;      // 4 x all constituents: pT, eta, phi, energy
    std::vector<float> kinematics;        // jets x 3: pT, eta, mass

    std::size_t size() const { return offsets.size() - 1; }
};

struct EventData {
    Jets jets;
    std::vector<float> channels;  // channels x 15
};

inline bool read_floats(std::istream &in, std::vector<float> &values, std::size_t count) {
    values.resize(count);
    return count == 0 || in.read(reinterpret_cast<char *>(values.data()), static_cast<std::streamsize>(count * sizeof(float)));
}

/// The next event; false at the end of the file, or where it is cut off.
inline bool read_event(std::istream &in, EventData &event) {
    std::uint32_t counts[2];
    if (!in.read(reinterpret_cast<char *>(counts), sizeof counts)) return false;
    event.jets.offsets.assign(1, 0);
    for (std::uint32_t jet = 0; jet < counts[0]; ++jet) {
        std::uint32_t constituents = 0;
        if (!in.read(reinterpret_cast<char *>(&constituents), sizeof constituents)) return false;
        event.jets.offsets.push_back(event.jets.offsets.back() + constituents);
    }
    return read_floats(in, event.jets.constituents, 4 * event.jets.offsets.back()) &&
           read_floats(in, event.jets.kinematics, 3 * event.jets.size()) && read_floats(in, event.channels, 15 * counts[1]);
}

inline std::vector<EventData> read_events(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    std::vector<EventData> events;
    for (EventData event; read_event(in, event);) events.push_back(event);
    return events;
}

inline void write_floats(std::ostream &out, const std::vector<float> &values) {
    out.write(reinterpret_cast<const char *>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}
