package local

import (
	"context"
	"errors"
	"net/http"

	"github.com/nave-dev/nave/api"
)

// statuses gives each code its HTTP status. A bound of a field is 413.
var statuses = map[api.Code]int{
	api.CodeInvalid: http.StatusBadRequest, api.CodeNotFound: http.StatusNotFound, api.CodeExists: http.StatusConflict,
	api.CodeConflict: http.StatusConflict, api.CodeInUse: http.StatusConflict, api.CodeUnauthenticated: http.StatusUnauthorized,
	api.CodeDenied: http.StatusForbidden, api.CodeLimit: http.StatusTooManyRequests, api.CodeUnavailable: http.StatusServiceUnavailable,
	api.CodeUnsupported: http.StatusNotImplemented, api.CodeFailed: http.StatusPreconditionFailed, api.CodeInternal: http.StatusInternalServerError,
}

// failure is an answer that tells of an error.
type failure struct {
	Error problem `json:"error"`
}

type problem struct {
	Code    api.Code `json:"code"`
	Field   string   `json:"field,omitempty"`
	Message string   `json:"message"`
}

func errorBody(err error) failure {
	p := problem{Code: api.CodeOf(err), Field: api.FieldOf(err), Message: err.Error()}
	var e *api.Error
	switch {
	case errors.As(err, &e) && e.Err != nil:
		p.Message = e.Err.Error() // without the field, which is beside it
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		p.Code = api.CodeUnavailable
	}
	return failure{p}
}

func fail(w http.ResponseWriter, err error) {
	body := errorBody(err)
	status := statuses[body.Error.Code]
	if body.Error.Code == api.CodeLimit && body.Error.Field != "" {
		status = http.StatusRequestEntityTooLarge
	}
	answer(w, status, body)
}

// asError is what a caller gets of an answer.
func (p problem) asError() error {
	return &api.Error{Code: p.Code, Field: p.Field, Err: errors.New(p.Message)}
}
