package api

import (
	"errors"
	"fmt"
)

// Code says what kind of error it is. Codes are few, append-only and stable: they are on the wire.
type Code string

// The codes and what a caller should do about each.
const (
	CodeInvalid         Code = "invalid"         // the request is wrong: mend the named field
	CodeNotFound        Code = "not_found"       // there is no such thing, or the caller may not see it
	CodeExists          Code = "exists"          // the name is taken, or the key was used with another payload
	CodeConflict        Code = "conflict"        // somebody else was faster: read again, then repeat
	CodeInUse           Code = "in_use"          // others refer to it: the error lists who
	CodeUnauthenticated Code = "unauthenticated" // no valid credential
	CodeDenied          Code = "denied"          // the credential is valid and does not allow this
	CodeLimit           Code = "limit"           // a bound was reached: the error names it
	CodeUnavailable     Code = "unavailable"     // a part is away: repeat later, the same request is safe
	CodeUnsupported     Code = "unsupported"     // this runtime or version cannot honour the named field
	CodeFailed          Code = "failed"          // the state of the thing does not allow this now
	CodeInternal        Code = "internal"        // a defect of Nave
)

// Codes lists every code, in the order of their declaration.
func Codes() []Code {
	return []Code{CodeInvalid, CodeNotFound, CodeExists, CodeConflict, CodeInUse, CodeUnauthenticated, CodeDenied, CodeLimit,
		CodeUnavailable, CodeUnsupported, CodeFailed, CodeInternal}
}

// Error is the one error type that crosses process boundaries.
type Error struct {
	Code  Code
	Op    string // verb and noun, e.g. "put agent"; may be empty
	Field string // path of the field at fault, e.g. "spec.volumes[2].mount"; empty when no field is
	Err   error  // what is wrong and what would be right
}

// Error implements error: "op: field: what is wrong".
func (e *Error) Error() string {
	s := ""
	if e.Op != "" {
		s = e.Op + ": "
	}
	if e.Field != "" {
		s += e.Field + ": "
	}
	if e.Err == nil {
		return s + string(e.Code)
	}
	return s + e.Err.Error()
}

// Unwrap returns the inner error.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [*Error] without a field.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Invalid makes a CodeInvalid error for a field.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Err: fmt.Errorf(format, args...)}
}

// CodeOf returns the code of the first [*Error] in err's chain, CodeInternal for other errors and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// FieldOf returns the field of the first [*Error] in err's chain, or "".
func FieldOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}
