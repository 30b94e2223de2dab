// A minimal stand-in for the header of Gaudi: values that job options set by name.
#pragma once
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <utility>

class PropertyHolder {
public:
    bool setProperty(const std::string &name, const std::string &text) {
        const auto found = setters_.find(name);
        return found != setters_.end() && found->second(text);
    }
    void declare(const std::string &name, std::function<bool(const std::string &)> set) { setters_[name] = std::move(set); }

private:
    std::map<std::string, std::function<bool(const std::string &)>> setters_;
};

namespace Gaudi {
template <class T> class Property {
public:
    Property(PropertyHolder *owner, const std::string &name, T value, const std::string & /* documentation */) : value_(std::move(value)) {
        owner->declare(name, [this](const std::string &text) { return bool(std::istringstream(text) >> value_); });
    }
    const T &value() const { return value_; }

private:
    T value_;
};
}  // namespace Gaudi
