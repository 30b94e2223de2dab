// A minimal stand-in for the headers of StoreGate: objects of an event that are read.
#pragma once
#include "GaudiKernel/EventContext.h"
#include "GaudiKernel/Property.h"
#include "GaudiKernel/StatusCode.h"

namespace SG {
template <class T> class ReadHandleKey : public Gaudi::Property<std::string> {
public:
    using Property::Property;
    StatusCode initialize() const { return StatusCode(!value().empty()); }
};

template <class T> class ReadHandle {
public:
    ReadHandle(const ReadHandleKey<T> &key, const EventContext &context) {
        const auto found = context.store->find(key.value());
        if (found != context.store->end()) object_ = static_cast<const T *>(found->second.get());
    }
    bool isValid() const { return object_ != nullptr; }
    const T *operator->() const { return object_; }
    const T &operator*() const { return *object_; }

private:
    const T *object_ = nullptr;
};
}  // namespace SG
