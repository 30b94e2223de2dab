// Stands in for the framework: loads a plugin, and runs its module in several streams, a thread each.
#include "FWCore/Framework/interface/MakerMacros.h"
#include "event_file.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <exception>
#include <thread>

int main(int argc, char **argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: cmsRun PLUGIN EVENTS RESULTS STREAMS\n");
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW);
    void *symbol = library ? dlsym(library, "edm_module_maker") : nullptr;
    if (!symbol) {
        std::fprintf(stderr, "cmsRun: %s\n", dlerror());
        return 1;
    }
    edm::Maker *maker = reinterpret_cast<edm::Maker *(*)()>(symbol)();
    edm::ParameterSet config;
    config.addParameter("jets", edm::InputTag{"jets"});
    const edm::EventSetup setup(JetTagWorkingPoint{0.5f});
    const std::vector<EventData> events = read_events(argv[2]);
    std::vector<std::vector<float>> results(events.size());
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};

    auto stream = [&](edm::stream::EDProducerBase &module) {
        try {
            for (std::size_t i = next++; i < events.size() && !failed; i = next++) {
                edm::Event event;
                event.emplace(edm::EDPutTokenT<Jets>{"jets"}, events[i].jets);
                module.produce(event, setup);
                results[i] = event.get(edm::EDGetTokenT<std::vector<float>>{"product"});
            }
        } catch (const std::exception &error) {
            std::fprintf(stderr, "cmsRun: %s\n", error.what());
            failed = true;
        }
    };
    maker->beginJob(config);
    std::vector<std::unique_ptr<edm::stream::EDProducerBase>> modules;
    std::vector<std::thread> threads;
    for (int i = 0; i < std::atoi(argv[4]); ++i) modules.push_back(maker->makeStream(config));
    for (auto &module : modules) threads.emplace_back(stream, std::ref(*module));
    for (std::thread &thread : threads) thread.join();
    maker->endJob();
    std::ofstream out(argv[3], std::ios::binary);
    for (const std::vector<float> &result : results) write_floats(out, result);
    return failed || !out ? 1 : 0;
}
