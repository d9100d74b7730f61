package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Config configures a [Verifier].
type Config struct {
	// Rest is how the API server is reached, with the spoke's own credential. Required.
	Rest *rest.Config
	// Audience is whom tokens must be for. Required.
	Audience string
	// Pod returns the namespace and the uid of the pod of this name, as the informer has it; false when it has none. It is asked for
	// names that callers made up, by several goroutines, and answers at once. Required.
	Pod func(name string) (namespace string, uid string, ok bool)
	// Complete is nil while Pod knows every pod. While it is not, a pod that Pod does not know may exist all the same, and nobody can
	// tell whose a token is that names it. Default: Pod always knows.
	Complete func() error
	// ServiceAccount is the name of the service account of all sessions. Required.
	ServiceAccount string
	// Log gets refusals and what goes wrong with the keys. Required.
	Log *slog.Logger
	// Now is the clock that tokens are checked against. Default: time.Now.
	Now func() time.Time
}

func (c *Config) validate() error {
	switch {
	case c.Rest == nil:
		return api.Invalid("rest", "is required: the configuration by which the API server is reached")
	case c.Audience == "":
		return api.Invalid("audience", "is required: whom the tokens of harnesses are for")
	case c.Pod == nil:
		return api.Invalid("pod", "is required: what the informer knows of a pod")
	case c.ServiceAccount == "":
		return api.Invalid("service_account", "is required: the name of the service account of sessions")
	case c.Log == nil:
		return api.Invalid("log", "is required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Complete == nil {
		c.Complete = func() error { return nil }
	}
	return nil
}

// Verifier checks tokens. Its methods may be called by several goroutines.
type Verifier struct {
	c        Config
	keys     *keys
	refusals *refusals
}

// New makes a verifier. It asks nobody yet.
func New(cfg Config) (*Verifier, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	source, err := newSource(cfg.Rest)
	if err != nil {
		return nil, fmt.Errorf("prepare to read the API server's keys: %w", err)
	}
	return &Verifier{
		c:        cfg,
		keys:     &keys{fetch: source.fetch, now: cfg.Now, log: cfg.Log},
		refusals: &refusals{log: cfg.Log, now: cfg.Now},
	}, nil
}

// errRefused is all that a caller learns.
var errRefused = &api.Error{Code: api.CodeUnauthenticated, Op: "verify token",
	Err: errors.New("this token does not show that its bearer is the harness of the workload")}

// Verify confirms that who bears the token is the harness of the workload. CodeUnauthenticated when it is not, CodeUnavailable
// when nobody can tell now.
func (v *Verifier) Verify(ctx context.Context, id spoke.WorkloadID, token string) error {
	pod := id.String()
	err := v.verify(ctx, pod, token)
	var why *misfit
	if errors.As(err, &why) {
		if err := v.doubt(why); err != nil {
			return unavailable(err)
		}
		v.refusals.add(pod, why)
		return errRefused
	}
	return err
}

// doubt returns why the misfit is no evidence against the bearer; nil when it is. It takes no token for right.
func (v *Verifier) doubt(why *misfit) error {
	switch why.claim {
	case claimPod, claimUID:
		if err := v.c.Complete(); err != nil {
			return fmt.Errorf("the pods are not known: %w", err)
		}
	case claimExpiry:
		if err := v.keys.away(); err != nil {
			return fmt.Errorf("no pod gets a new token while the API server is away: %w", err)
		}
	}
	return nil
}

func (v *Verifier) verify(ctx context.Context, pod, token string) error {
	t, err := parse(token)
	if err != nil {
		return err
	}
	namespace, uid, ok := v.c.Pod(pod)
	if !ok { // asked before the keys, so that names which somebody made up lead to no question
		return &misfit{claim: claimPod, want: "a pod that exists"}
	}
	found, err := v.keys.find(ctx, t.Headers[0].KeyID)
	if err != nil {
		return err
	}
	c, err := open(t, found.keys)
	if err != nil {
		return err
	}
	return c.fit(wanted{
		issuer: found.issuer, audience: v.c.Audience, now: v.c.Now(),
		account: v.c.ServiceAccount, namespace: namespace, pod: pod, uid: uid,
	})
}

// Ready tells whether tokens can be checked at all: nil when the API server's keys are known. The error says what to do.
func (v *Verifier) Ready(ctx context.Context) error {
	_, err := v.keys.current(ctx)
	return err
}
