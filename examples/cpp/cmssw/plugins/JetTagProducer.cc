// A producer of CMSSW that tags jets with a model exported by tamis.
#include "FWCore/Framework/interface/Event.h"
#include "FWCore/Framework/interface/EventSetup.h"
#include "FWCore/Framework/interface/MakerMacros.h"
#include "FWCore/Framework/interface/stream/EDProducer.h"
#include "FWCore/ParameterSet/interface/ParameterSet.h"
#include "FWCore/Utilities/interface/Exception.h"

#include "event_file.h"
#include "tagger.hpp"

#include <atomic>
#include <cstdio>
#include <memory>
#include <vector>

// Shared by the streams. The model needs no entry here: its weights are constants of the library.
struct JetTagCache {
    mutable std::atomic<unsigned> jets{0}, tagged{0};
};

class JetTagProducer : public edm::stream::EDProducer<edm::GlobalCache<JetTagCache>> {
public:
    JetTagProducer(const edm::ParameterSet &config, const JetTagCache *)
        : jets_(consumes<Jets>(config.getParameter<edm::InputTag>("jets"))),
          workingPoint_(esConsumes<JetTagWorkingPoint, JetTagRecord>()),
          probabilities_(produces<std::vector<float>>()) {
        if (!workspace_) throw cms::Exception("JetTagProducer") << "no memory for the workspace of the model";
    }

    static std::unique_ptr<JetTagCache> initializeGlobalCache(const edm::ParameterSet &) {
        return std::make_unique<JetTagCache>();
    }

    static void globalEndJob(const JetTagCache *cache) {
        std::printf("%s: %u of %u jets tagged\n", tamis::tagger::name, cache->tagged.load(), cache->jets.load());
    }

    void produce(edm::Event &event, const edm::EventSetup &setup) override {
        const Jets &jets = event.get(jets_);
        std::vector<float> probabilities(3 * jets.size());
        const tamis::Status status =
            tamis::tagger::run_ragged({jets.constituents, jets.kinematics}, {probabilities}, jets.offsets, workspace_);
        if (status != tamis::Status::ok)
            throw cms::Exception("JetTagProducer") << tamis::tagger::name << ": " << tamis::message(status);

        const float threshold = setup.getData(workingPoint_).threshold;
        for (std::size_t jet = 0; jet < jets.size(); ++jet) globalCache()->tagged += probabilities[3 * jet] > threshold;
        globalCache()->jets += static_cast<unsigned>(jets.size());
        event.emplace(probabilities_, std::move(probabilities));
    }

private:
    const edm::EDGetTokenT<Jets> jets_;
    const edm::ESGetToken<JetTagWorkingPoint, JetTagRecord> workingPoint_;
    const edm::EDPutTokenT<std::vector<float>> probabilities_;
    tamis::tagger::Workspace workspace_;  // of this stream, which runs one event at a time
};

DEFINE_FWK_MODULE(JetTagProducer);
