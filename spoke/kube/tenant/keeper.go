package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
)

// Limits of waits.
const (
	callLimit  = 15 * time.Second // of one question to the API server
	rightLimit = 10 * time.Second // until a right that was just given is known to every API server
	applyLimit = 2 * time.Minute  // of all of an Apply
)

// Config configures a [Keeper].
type Config struct {
	// Rest is how the API server is reached, with the spoke's own credential. Required. Without a rate of its own at most 20 questions
	// a second are asked, 60 at once.
	Rest *rest.Config
	// Log gets what is made. Required.
	Log *slog.Logger
}

// Keeper makes and checks namespaces. Its methods may be called by several goroutines.
type Keeper struct {
	client *client
	log    *slog.Logger

	mu   sync.Mutex
	left map[string]map[string]left // by namespace and object, as the last Apply left it
}

// New makes a keeper. It asks nobody yet.
func New(cfg Config) (*Keeper, error) {
	switch {
	case cfg.Rest == nil:
		return nil, api.Invalid("rest", "is required: the configuration by which the API server is reached")
	case cfg.Log == nil:
		return nil, api.Invalid("log", "is required")
	}
	own := rest.CopyConfig(cfg.Rest)
	own.Timeout = callLimit
	own.WarningHandler = rest.NoWarnings{} // about the pods of the self-test, which are meant to be refused
	if own.QPS == 0 && own.RateLimiter == nil {
		own.QPS, own.Burst = 20, 60
	}
	client, err := newClient(own)
	if err != nil {
		return nil, err
	}
	return &Keeper{client: client, log: cfg.Log, left: map[string]map[string]left{}}, nil
}

// configuration is an object as it is applied: what it does not say is not ours.
func configuration(o runtime.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", o.GetObjectKind().GroupVersionKind().Kind, err)
	}
	u := &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	return u, nil
}

// failed turns what an API server says into an error with a code and a remedy.
func failed(op string, err error, remedy string) error {
	var status apierrors.APIStatus
	code := api.CodeUnavailable
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case !errors.As(err, &status):
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		code = api.CodeDenied
	case apierrors.IsConflict(err):
		code = api.CodeConflict
	case apierrors.IsInvalid(err), status.Status().Code == http.StatusBadRequest:
		code = api.CodeFailed
	}
	if remedy != "" && code != api.CodeUnavailable {
		err = fmt.Errorf("%w; %s", err, remedy)
	}
	return &api.Error{Code: code, Op: op, Err: err}
}
