// Stands in for the framework: loads a component, sets its properties, and runs it for several events at once.
#include "AthenaBaseComps/AthReentrantAlgorithm.h"
#include "event_file.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <memory>
#include <thread>

int main(int argc, char **argv) {
    if (argc < 5) {
        std::fprintf(stderr, "usage: athena COMPONENT EVENTS RESULTS THREADS [PROPERTY=VALUE ...]\n");
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW);
    void *symbol = library ? dlsym(library, "gaudi_component") : nullptr;
    if (!symbol) {
        std::fprintf(stderr, "athena: %s\n", dlerror());
        return 1;
    }
    const std::unique_ptr<AthReentrantAlgorithm> algorithm(reinterpret_cast<AthReentrantAlgorithm *(*)(const char *)>(symbol)("JetTagAlg"));
    for (int i = 5; i < argc; ++i) {
        const std::string option = argv[i];
        const std::size_t sign = option.find('=');
        if (sign == std::string::npos || !algorithm->setProperty(option.substr(0, sign), option.substr(sign + 1))) {
            std::fprintf(stderr, "athena: %s is no property with a value\n", argv[i]);
            return 2;
        }
    }
    const std::vector<EventData> events = read_events(argv[2]);
    std::vector<std::vector<float>> results(events.size());
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{algorithm->initialize().isFailure()};

    auto slot = [&] {
        for (std::size_t i = next++; i < events.size() && !failed; i = next++) {
            std::map<std::string, std::shared_ptr<void>> store;
            store["Jets"] = std::make_shared<Jets>(events[i].jets);
            if (algorithm->execute(EventContext{i, &store}).isFailure()) {
                failed = true;
                return;
            }
            results[i] = *static_cast<std::vector<float> *>(store.at("Probabilities").get());
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < std::atoi(argv[4]); ++i) threads.emplace_back(slot);
    for (std::thread &thread : threads) thread.join();
    if (failed || algorithm->finalize().isFailure()) return 1;
    std::ofstream out(argv[3], std::ios::binary);
    for (const std::vector<float> &result : results) write_floats(out, result);
    return out ? 0 : 1;
}
