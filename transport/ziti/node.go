package ziti

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/openziti/sdk-golang/ziti"

	"github.com/nave-dev/nave/internal/run"
)

const (
	listenBound = 20 * time.Second
	dialBound   = 10 * time.Second
	closeBound  = 5 * time.Second

	terminators = 3 // at most; one for each router that the identity may use
)

// errNoAnswer is why a bounded call ended when ctx itself did not.
var errNoAnswer = errors.New("the overlay did not answer in time")

// NodeConfig is what a Node needs.
type NodeConfig struct {
	Identity []byte       // JSON from Enroll. Required.
	Log      *slog.Logger // default: nothing is logged
}

// Node is one enrolled identity at work. Its methods may be called at the same time.
type Node struct {
	id    *parsed
	sdk   ziti.Context
	call  chan struct{} // full while a call is inside the SDK; capacity 1
	peers peers         // accepted with ServerCredentials

	authed bool // the first authentication has succeeded; used only from inside a call
}

// OpenNode returns the node of an identity. It waits for nothing: the first Listen or Dial goes to the controller.
func OpenNode(cfg NodeConfig) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	RouteLog(cfg.Log)
	var zc ziti.Config
	if err := json.Unmarshal(cfg.Identity, &zc); err != nil {
		return nil, fmt.Errorf("open overlay identity: %w", err)
	}
	id, err := parseIdentity(&zc)
	if err != nil {
		return nil, fmt.Errorf("open overlay identity: %w", err)
	}
	sdk, err := ziti.NewContext(&zc)
	if err != nil {
		return nil, fmt.Errorf("open overlay identity %s: %w", id.name, err)
	}
	return &Node{id: id, sdk: sdk, call: make(chan struct{}, 1)}, nil
}

// ID returns the identity's id, which is the common name of its certificate.
func (n *Node) ID() string { return n.id.name }

// Listen hosts the service and returns when the first router has taken it, within 20 s. Connections carry no proof of
// who dials: serve them with [ServerCredentials].
func (n *Node) Listen(ctx context.Context, service string) (net.Listener, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listenBound, errNoAnswer)
	defer cancel()
	l, err := retry(ctx, n, func(ctx context.Context) (net.Listener, error) {
		o := ziti.DefaultListenOptions()
		o.ConnectTimeout = remaining(ctx)
		o.MaxTerminators = terminators
		o.WaitForNEstablishedListeners = 1 // or Listen returns before anybody can reach us
		o.DoNotSaveDialerIdentity = true   // nothing may be tempted to believe it
		return n.sdk.ListenWithOptions(service, o)
	})
	if err != nil {
		return nil, fmt.Errorf("host overlay service %s: %w", service, err)
	}
	return listener{l}, nil
}

// Dial connects to a host of the service, within 10 s. Who that is, is proved by [ClientCredentials] only.
func (n *Node) Dial(ctx context.Context, service string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialBound, errNoAnswer)
	defer cancel()
	c, err := retry(ctx, n, func(ctx context.Context) (net.Conn, error) {
		return n.sdk.DialContextWithOptions(ctx, service, &ziti.DialOptions{ConnectTimeout: remaining(ctx)})
	})
	if err != nil {
		return nil, fmt.Errorf("dial overlay service %s: %w", service, err)
	}
	return &conn{Conn: c}, nil
}

// Close ends the node, its listeners and its connections, within 5 s.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), closeBound, errNoAnswer)
	defer cancel()
	_, err := run.Bounded(ctx, func() (struct{}, error) { n.sdk.Close(); return struct{}{}, nil }, nil)
	if err != nil {
		return fmt.Errorf("close overlay identity %s: %w", n.id.name, err)
	}
	return nil
}

// retry calls f until it succeeds, ctx ends, or the failure is one that waiting does not mend. Just after a listen or a
// change of policies the network still answers from what it knew.
func retry[T io.Closer](ctx context.Context, n *Node, f func(context.Context) (T, error)) (T, error) {
	wait := 50 * time.Millisecond
	for {
		v, err := bounded(ctx, n, f)
		if err == nil || !passing(err) {
			return v, err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return v, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-t.C:
		}
		wait = min(2*wait, 500*time.Millisecond)
		if isNotFound(err) { // the SDK looks for new services every few minutes only
			_, _ = bounded(ctx, n, func(context.Context) (io.Closer, error) { return io.NopCloser(nil), n.sdk.RefreshServices() })
		}
	}
}

// passing reports whether the SDK's failure may mend itself within seconds. It has no types for these.
func passing(err error) bool {
	s := err.Error()
	return strings.Contains(s, "has no terminators") || strings.Contains(s, "no edge routers") || isNotFound(err)
}

func isNotFound(err error) bool {
	s := err.Error()
	return strings.HasPrefix(s, "service '") && strings.Contains(s, "not found")
}

// bounded calls f inside the SDK. There is one call at a time, and one that its caller gave up waiting for counts until it
// has really returned: the SDK's calls ignore their context for tens of seconds in front of a dead controller, where every
// retry would leave one more behind, and calls at the same time race with each other inside it.
func bounded[T io.Closer](ctx context.Context, n *Node, f func(context.Context) (T, error)) (T, error) {
	var zero T
	select {
	case n.call <- struct{}{}:
	case <-ctx.Done():
		return zero, fmt.Errorf("wait for a former call into the overlay: %w", context.Cause(ctx))
	}
	return run.Bounded(ctx, func() (T, error) {
		defer func() { <-n.call }()
		if err := ctx.Err(); err != nil {
			return zero, context.Cause(ctx)
		}
		if err := n.authenticate(); err != nil {
			return zero, err
		}
		return f(ctx)
	}, func(late T) { _ = late.Close() })
}

// authenticate does the first authentication; those after it are the SDK's affair. Called from inside a call.
func (n *Node) authenticate() error {
	if n.authed {
		return nil
	}
	// The SDK asks for the controller's version by itself, beside what the context's owner begins, and reads then what
	// authenticating writes. This waits for the answer.
	if c, ok := n.sdk.(*ziti.ContextImpl); ok {
		c.CtrlClt.API.ControllerSupportsHa()
	}
	if err := n.sdk.Authenticate(); err != nil {
		return fmt.Errorf("authenticate: %w", wrap(err))
	}
	n.authed = true
	return nil
}

// remaining is the time until ctx's deadline.
func remaining(ctx context.Context) time.Duration {
	d, ok := ctx.Deadline()
	if !ok {
		return dialBound
	}
	return max(time.Until(d), time.Millisecond)
}

// parsed is an enrolled identity, checked.
type parsed struct {
	name string // common name of the certificate
	cert tls.Certificate
	pool *x509.CertPool // the authority
}

func parseIdentity(cfg *ziti.Config) (*parsed, error) {
	if cfg.ZtAPI == "" && len(cfg.ZtAPIs) == 0 {
		return nil, errors.New("it names no controller")
	}
	pem := map[string]string{"cert": cfg.ID.Cert, "key": cfg.ID.Key, "ca": cfg.ID.CA}
	for name, v := range pem {
		b, ok := strings.CutPrefix(v, "pem:")
		if !ok {
			return nil, fmt.Errorf("its %s is not PEM", name)
		}
		pem[name] = b
	}
	cert, err := tls.X509KeyPair([]byte(pem["cert"]), []byte(pem["key"]))
	if err != nil {
		return nil, err
	}
	p := &parsed{name: cert.Leaf.Subject.CommonName, cert: cert, pool: x509.NewCertPool()}
	if p.name == "" {
		return nil, errors.New("its certificate names nobody")
	}
	if !p.pool.AppendCertsFromPEM([]byte(pem["ca"])) {
		return nil, errors.New("its authority holds no certificate")
	}
	return p, nil
}
