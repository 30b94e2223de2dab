// A minimal stand-in for the header of CMSSW.
#pragma once
#include <map>
#include <string>
#include <utility>

namespace edm {
struct InputTag {
    std::string label;
};

class ParameterSet {
public:
    void addParameter(const std::string &name, InputTag tag) { tags_[name] = std::move(tag); }
    template <class T> T getParameter(const std::string &name) const { return tags_.at(name); }

private:
    std::map<std::string, InputTag> tags_;
};
}  // namespace edm
