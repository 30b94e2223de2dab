// Two models in an event loop: a tagger of jets with any number of constituents, and the energies of calorimeter channels.
#include "event_file.h"
#include "facile.hpp"
#include "tagger.hpp"

#include <cstdio>

int main(int argc, char **argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: score EVENTS RESULTS\n");
        return 2;
    }
    std::ofstream results(argv[2], std::ios::binary);
    std::vector<float> probabilities, energies;
    for (const EventData &event : read_events(argv[1])) {
        // all jets of the event in one call, without padding
        probabilities.resize(3 * event.jets.size());
        const tamis::Status tagged =
            tamis::tagger::run_ragged({event.jets.constituents, event.jets.kinematics}, {probabilities}, event.jets.offsets);
        // a row for each channel
        energies.resize(event.channels.size() / 15);
        const tamis::Status measured = tamis::facile::run({event.channels}, {energies});
        for (tamis::Status status : {tagged, measured}) {
            if (status != tamis::Status::ok) {
                std::fprintf(stderr, "score: %s\n", tamis::message(status));
                return 1;
            }
        }
        write_floats(results, probabilities);
        write_floats(results, energies);
    }
    std::printf("%s with %s, %s\n", tamis::tagger::name, tamis::tagger::instruction_set(), tamis::tagger::sha256);
    return results ? 0 : 1;
}
