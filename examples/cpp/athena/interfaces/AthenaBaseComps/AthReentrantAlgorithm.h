// A minimal stand-in for the header of Athena: an algorithm whose execute is const, and runs for several events at once.
#pragma once
#include "GaudiKernel/EventContext.h"
#include "GaudiKernel/Property.h"
#include "GaudiKernel/StatusCode.h"
#include <iostream>
#include <string>
#include <utility>

class AthReentrantAlgorithm : public PropertyHolder {
public:
    explicit AthReentrantAlgorithm(std::string name) : name_(std::move(name)) {}
    virtual ~AthReentrantAlgorithm() = default;
    virtual StatusCode initialize() { return StatusCode::SUCCESS; }
    virtual StatusCode execute(const EventContext &context) const = 0;
    virtual StatusCode finalize() { return StatusCode::SUCCESS; }
    const std::string &name() const { return name_; }

private:
    std::string name_;
};

#define ATH_MSG_INFO(text) (std::cout << name() << ": " << text << '\n')
#define ATH_MSG_ERROR(text) (std::cerr << name() << ": " << text << '\n')
#define ATH_CHECK(expression)                                                   \
    do {                                                                        \
        if (!StatusCode(expression).isSuccess()) {                              \
            ATH_MSG_ERROR(#expression << " failed");                            \
            return StatusCode::FAILURE;                                         \
        }                                                                       \
    } while (false)
