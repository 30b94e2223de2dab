// A minimal stand-in for the header of Gaudi: which event is processed, with its store.
#pragma once
#include <cstddef>
#include <map>
#include <memory>
#include <string>

struct EventContext {
    std::size_t evt;
    std::map<std::string, std::shared_ptr<void>> *store;
};
