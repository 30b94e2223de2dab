// A minimal stand-in for the header of Gaudi.
#pragma once

class [[nodiscard]] StatusCode {
public:
    enum Code { FAILURE, SUCCESS };
    StatusCode(Code code) : code_(code) {}
    explicit StatusCode(bool ok) : code_(ok ? SUCCESS : FAILURE) {}
    bool isSuccess() const { return code_ == SUCCESS; }
    bool isFailure() const { return code_ == FAILURE; }

private:
    Code code_;
};
