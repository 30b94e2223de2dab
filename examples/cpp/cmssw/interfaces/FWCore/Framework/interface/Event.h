// A minimal stand-in for the header of CMSSW: products of an event by label.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace edm {
template <class T> struct EDGetTokenT {
    std::string label;
};
template <class T> struct EDPutTokenT {
    std::string label;
};

class Event {
public:
    template <class T> const T &get(const EDGetTokenT<T> &token) const { return *static_cast<const T *>(products_.at(token.label).get()); }
    template <class T> void emplace(const EDPutTokenT<T> &token, T product) {
        products_[token.label] = std::make_shared<T>(std::move(product));
    }

private:
    std::map<std::string, std::shared_ptr<void>> products_;
};
}  // namespace edm
