// An algorithm of Gaudi (Athena) that tags jets with a model exported by tamis.
#pragma once
#include "AthenaBaseComps/AthReentrantAlgorithm.h"
#include "GaudiKernel/Property.h"
#include "StoreGate/ReadHandleKey.h"
#include "StoreGate/WriteHandleKey.h"

#include "event_file.h"

#include <atomic>
#include <vector>

class JetTagAlg : public AthReentrantAlgorithm {
public:
    using AthReentrantAlgorithm::AthReentrantAlgorithm;
    StatusCode initialize() override;
    StatusCode execute(const EventContext &context) const override;
    StatusCode finalize() override;

private:
    SG::ReadHandleKey<Jets> m_jets{this, "Jets", "Jets", "jets with constituents"};
    SG::WriteHandleKey<std::vector<float>> m_probabilities{this, "Probabilities", "Probabilities", "three for each jet"};
    Gaudi::Property<float> m_threshold{this, "Threshold", 0.5f, "probability from which on a jet is tagged"};
    mutable std::atomic<unsigned> m_tagged{0};
};
