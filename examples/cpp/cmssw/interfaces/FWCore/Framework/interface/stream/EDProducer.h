// A minimal stand-in for the header of CMSSW: a module of which each stream has an instance, and all share a cache.
#pragma once
#include "FWCore/Framework/interface/Event.h"
#include "FWCore/Framework/interface/EventSetup.h"
#include "FWCore/ParameterSet/interface/ParameterSet.h"

namespace edm {
template <class T> struct GlobalCache {
    using Type = T;
};

namespace stream {
class EDProducerBase {
public:
    virtual ~EDProducerBase() = default;
    virtual void produce(Event &, const EventSetup &) = 0;
};

template <class Cache> class EDProducer : public EDProducerBase {
public:
    using CacheType = typename Cache::Type;
    void setGlobalCache(const CacheType *cache) { cache_ = cache; }

protected:
    const CacheType *globalCache() const { return cache_; }
    template <class T> EDGetTokenT<T> consumes(const InputTag &tag) { return {tag.label}; }
    template <class T> EDPutTokenT<T> produces() { return {"product"}; }
    template <class T, class Record> ESGetToken<T, Record> esConsumes() { return {}; }

private:
    const CacheType *cache_ = nullptr;
};
}  // namespace stream
}  // namespace edm
