// A minimal stand-in for the header of Gaudi: how the framework finds an algorithm in a library.
#pragma once
#include "AthenaBaseComps/AthReentrantAlgorithm.h"

#define DECLARE_COMPONENT(type) \
    extern "C" AthReentrantAlgorithm *gaudi_component(const char *name) { return new type(name); }
