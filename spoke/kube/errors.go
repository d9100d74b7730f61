package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/nave-dev/nave/api"
)

// call is what was asked of the API server.
type call struct{ verb, resource, namespace string }

// fail makes an error of ours from one of the API server.
func (c call) fail(err error) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("%s %s in namespace %s", c.verb, c.resource, c.namespace)
	if c.namespace == "" {
		what = c.verb + " " + c.resource
	}
	code, text := api.CodeFailed, what
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot "+c.verb+" resource "):
		code = api.CodeDenied
		text = fmt.Sprintf("%s: the spoke's service account lacks the right %q on %q there: give it a role with it", what, c.verb, c.resource)
	case apierrors.IsUnauthorized(err):
		code = api.CodeDenied
		text = what + ": the API server does not know the spoke: is its token or certificate of this cluster, and valid?"
	case apierrors.IsNotFound(err) && c.verb == "create":
		text = what + ": is the namespace missing?"
	case away(err):
		code = api.CodeUnavailable
	}
	return &api.Error{Code: code, Err: fmt.Errorf("%s: %w", text, err)}
}

// away reports that the API server does not answer, or not now.
func away(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || !definite(err) || apierrors.IsTooManyRequests(err)
}

// definite reports that the API server did not do, and will not do, what was asked. Of other errors nobody can tell.
func definite(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		n := status.Status().Code
		return n >= 400 && n < 500 && n != 408
	}
	return utilnet.IsConnectionRefused(err)
}
