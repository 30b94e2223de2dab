// A minimal stand-in for the header of CMSSW: one record with the working point of the tagger.
#pragma once

struct JetTagRecord {};
struct JetTagWorkingPoint {
    float threshold;
};

namespace edm {
template <class T, class Record> struct ESGetToken {};

class EventSetup {
public:
    explicit EventSetup(JetTagWorkingPoint point) : point_(point) {}
    const JetTagWorkingPoint &getData(const ESGetToken<JetTagWorkingPoint, JetTagRecord> &) const { return point_; }

private:
    JetTagWorkingPoint point_;
};
}  // namespace edm
