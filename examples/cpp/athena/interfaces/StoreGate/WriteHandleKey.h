// A minimal stand-in for the headers of StoreGate: objects of an event that are written.
#pragma once
#include "GaudiKernel/EventContext.h"
#include "GaudiKernel/Property.h"
#include "GaudiKernel/StatusCode.h"

namespace SG {
template <class T> class WriteHandleKey : public Gaudi::Property<std::string> {
public:
    using Property::Property;
    StatusCode initialize() const { return StatusCode(!value().empty()); }
};

template <class T> class WriteHandle {
public:
    WriteHandle(const WriteHandleKey<T> &key, const EventContext &context) : key_(key.value()), store_(context.store) {}
    StatusCode record(std::unique_ptr<T> object) {
        return StatusCode(store_->emplace(key_, std::shared_ptr<void>(std::move(object))).second);
    }

private:
    std::string key_;
    std::map<std::string, std::shared_ptr<void>> *store_;
};
}  // namespace SG
