#include "JetTagAlg.h"

#include "GaudiKernel/DeclareComponent.h"
#include "tagger.hpp"

StatusCode JetTagAlg::initialize() {
    ATH_CHECK(m_jets.initialize());
    ATH_CHECK(m_probabilities.initialize());
    ATH_MSG_INFO(tamis::tagger::name << " takes jets of " << tamis::tagger::sizes[0].smallest << " to "
                                     << tamis::tagger::sizes[0].largest << " constituents; code for "
                                     << tamis::tagger::instruction_set());
    return StatusCode::SUCCESS;
}

StatusCode JetTagAlg::execute(const EventContext &context) const {
    SG::ReadHandle<Jets> jets(m_jets, context);
    ATH_CHECK(jets.isValid());
    auto probabilities = std::make_unique<std::vector<float>>(3 * jets->size());
    const std::size_t total = jets->offsets.back();
    std::vector<float> constituents;
    for (std::size_t jet = 0; jet < jets->size(); ++jet) {  // one call for each jet, with its number of constituents
        const std::size_t first = jets->offsets[jet], count = jets->offsets[jet + 1] - first;
        constituents.clear();
        for (std::size_t row = 0; row < 4; ++row) {
            const float *values = jets->constituents.data() + row * total + first;
            constituents.insert(constituents.end(), values, values + count);
        }
        float *result = probabilities->data() + 3 * jet;
        // the scratch of this thread is used: execute may run in any thread, for several events at once
        const tamis::Status status =
            tamis::tagger::run({constituents, {jets->kinematics.data() + 3 * jet, 3}}, {{result, 3}}, count);
        if (status != tamis::Status::ok) {
            ATH_MSG_ERROR(tamis::tagger::name << ": " << tamis::message(status));
            return StatusCode::FAILURE;
        }
        if (result[0] > m_threshold.value()) ++m_tagged;
    }
    SG::WriteHandle<std::vector<float>> output(m_probabilities, context);
    return output.record(std::move(probabilities));
}

StatusCode JetTagAlg::finalize() {
    ATH_MSG_INFO(m_tagged << " jets tagged");
    return StatusCode::SUCCESS;
}

DECLARE_COMPONENT(JetTagAlg)
