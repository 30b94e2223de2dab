// A minimal stand-in for the header of CMSSW: how the framework finds a module in a library.
#pragma once
#include "FWCore/Framework/interface/stream/EDProducer.h"
#include <memory>

namespace edm {
class Maker {
public:
    virtual ~Maker() = default;
    virtual void beginJob(const ParameterSet &) = 0;
    virtual std::unique_ptr<stream::EDProducerBase> makeStream(const ParameterSet &) = 0;
    virtual void endJob() = 0;
};

template <class Module> class MakerOf : public Maker {
public:
    void beginJob(const ParameterSet &config) override { cache_ = Module::initializeGlobalCache(config); }
    std::unique_ptr<stream::EDProducerBase> makeStream(const ParameterSet &config) override {
        auto module = std::make_unique<Module>(config, cache_.get());
        module->setGlobalCache(cache_.get());
        return module;
    }
    void endJob() override { Module::globalEndJob(cache_.get()); }

private:
    std::unique_ptr<typename Module::CacheType> cache_;
};
}  // namespace edm

#define DEFINE_FWK_MODULE(type)                       \
    extern "C" edm::Maker *edm_module_maker() {       \
        static edm::MakerOf<type> maker;              \
        return &maker;                                \
    }                                                 \
    static_assert(true, "takes the semicolon")
