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
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/openziti/sdk-golang/ziti"

	"github.com/nave-dev/nave/api"
)

const (
	listenBound = 20 * time.Second
	dialBound   = 10 * time.Second
	closeBound  = 5 * time.Second

	// firstTry bounds the first try of a dial; each further one has twice as long. The SDK waits for its whole bound when
	// every router refused at once, and what a try has reached (a session, a router) serves the next one.
	firstTry    = time.Second
	firstBind   = 2 * time.Second // the same for hosting, each further one in a fresh session; on an idle machine a bind takes 25 ms
	triesToTurn = 2               // after so many that were not answered a dial goes on in a fresh session
	terminators = 3               // at most; one for each router that the identity may use
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
	cfg   NodeConfig
	id    *parsed
	peers peers           // accepted with ServerCredentials
	open  context.Context // ended by Close
	end   context.CancelCauseFunc

	mu   sync.Mutex
	cur  *session              // guarded by mu; for what begins
	left map[*session]struct{} // guarded by mu; at most maxSessions-1
}

// OpenNode returns the node of an identity. It waits for nothing: the first Listen or Dial goes to the controller.
func OpenNode(cfg NodeConfig) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	RouteLog(cfg.Log)
	n := &Node{cfg: cfg, left: map[*session]struct{}{}}
	zc, err := n.config()
	if err != nil {
		return nil, fmt.Errorf("open overlay identity: %w", err)
	}
	if n.id, err = parseIdentity(zc); err != nil {
		return nil, fmt.Errorf("open overlay identity: %w", err)
	}
	if n.cur, err = newSession(zc); err != nil {
		return nil, fmt.Errorf("open overlay identity %s: %w", n.id.name, err)
	}
	n.open, n.end = context.WithCancelCause(context.Background())
	return n, nil
}

// config is the identity as the SDK takes it, which changes what it was given.
func (n *Node) config() (*ziti.Config, error) {
	var zc ziti.Config
	return &zc, json.Unmarshal(n.cfg.Identity, &zc)
}

// ID returns the identity's id, which is the common name of its certificate.
func (n *Node) ID() string { return n.id.name }

// Listen hosts the service and returns when the first router has taken it, within 20 s. Connections carry no proof of
// who dials: serve them with [ServerCredentials]. When the overlay ends the hosting, Accept begins it anew.
func (n *Node) Listen(ctx context.Context, service string) (net.Listener, error) {
	l, err := n.host(ctx, service)
	if err != nil {
		return nil, err
	}
	open, end := context.WithCancelCause(n.open)
	return &listener{n: n, service: service, open: open, end: end, cur: l}, nil
}

// host begins hosting. A router that does not answer the first bind of a session is asked again by the SDK after half a minute
// only; a fresh session asks at once.
func (n *Node) host(ctx context.Context, service string) (net.Listener, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listenBound, errNoAnswer)
	defer cancel()
	for bound := firstBind; ; bound *= 2 {
		s := n.session()
		l, err := n.bind(ctx, s, service, bound)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil || !errors.Is(err, errTryOver) {
			return nil, n.explain(s, fmt.Errorf("host overlay service %s: %w", service, err), "this hub's identity is not known to the overlay any more")
		}
		if s.authed.Load() {
			n.turn(s, err)
		}
	}
}

// bind is one try to host.
func (n *Node) bind(ctx context.Context, s *session, service string, bound time.Duration) (net.Listener, error) {
	return try(ctx, s, bound, func(ctx context.Context) (net.Listener, error) {
		o := ziti.DefaultListenOptions()
		o.ConnectTimeout = remaining(ctx)
		o.MaxTerminators = terminators
		o.WaitForNEstablishedListeners = 1 // or Listen returns before anybody can reach us
		o.DoNotSaveDialerIdentity = true   // nothing may be tempted to believe it
		l, err := s.sdk.ListenWithOptions(service, o)
		if err != nil {
			return nil, err
		}
		return newHosting(l, s), nil
	})
}

// Dial connects to a host of the service, within 10 s. Who that is, is proved by [ClientCredentials] only. CodeDenied: the
// controller does not know this identity.
func (n *Node) Dial(ctx context.Context, service string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialBound, errNoAnswer)
	defer cancel()
	bound := firstTry
	for tries := 1; ; tries++ {
		s := n.session()
		c, err := n.dial(ctx, s, service, bound)
		if err == nil {
			return c, nil
		}
		// What passes by itself has passed by now, or does so when somebody hosts again.
		waited := tries == triesToTurn && passing(err)
		if ctx.Err() != nil || !errors.Is(err, errTryOver) || waited {
			return nil, n.explain(s, fmt.Errorf("dial overlay service %s: %w", service, err),
				"this spoke's identity is not known to the overlay any more: its cluster was removed or rejoined; enroll again")
		}
		// A router that hangs is preferred by a session that knows it from before; a fresh one takes whoever answers.
		if tries >= triesToTurn && s.authed.Load() {
			n.turn(s, err)
		}
		bound *= 2
	}
}

// errTryOver is why one try ended.
var errTryOver = errors.New("no answer from the overlay yet")

// dial is one try to dial.
func (n *Node) dial(ctx context.Context, s *session, service string, bound time.Duration) (net.Conn, error) {
	return try(ctx, s, bound, func(ctx context.Context) (net.Conn, error) {
		c, err := s.sdk.DialContextWithOptions(ctx, service, &ziti.DialOptions{ConnectTimeout: remaining(ctx)})
		if err != nil {
			return nil, err
		}
		return newConn(c, s), nil
	})
}

// try is retry within a bound of its own.
func try[T io.Closer](ctx context.Context, s *session, bound time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, errTryOver)
	defer cancel()
	v, err := retry(ctx, s, f)
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return v, err
}

// explain turns the controller's word that it does not know the identity into CodeDenied with a sentence for people, and
// leaves the session, whose SDK would go on asking.
func (n *Node) explain(s *session, err error, sentence string) error {
	if !refused(err) {
		return err
	}
	n.turn(s, err)
	return api.Errorf(api.CodeDenied, "%s (%w)", sentence, err)
}

// refused reports whether the controller answered that it does not accept the identity's certificate. The SDK passes on the
// text alone, in several wordings. A 401 to anything but an authentication is no such answer: sessions end.
func refused(err error) bool {
	s := err.Error()
	authenticating := strings.Contains(s, "credential submission failed") || strings.Contains(s, "authenticat")
	return hasStatus(err, http.StatusUnauthorized) || authenticating && (strings.Contains(s, "status 401") || strings.Contains(s, "[401]"))
}

// session returns the one that is in use, after turning to a fresh one if it is stuck.
func (n *Node) session() *session {
	n.mu.Lock()
	s := n.cur
	n.mu.Unlock()
	if !s.stuck() {
		return s
	}
	n.turn(s, errors.New("a call into it does not return"))
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cur
}

// turn leaves s for a fresh session, unless that was done or too many that were left are still in use.
func (n *Node) turn(s *session, why error) {
	n.mu.Lock()
	if n.cur != s || len(n.left) >= maxSessions-1 {
		n.mu.Unlock()
		return
	}
	zc, err := n.config()
	var fresh *session
	if err == nil {
		fresh, err = newSession(zc)
	}
	if err != nil {
		n.mu.Unlock()
		n.cfg.Log.Warn("overlay session not renewed", "error", err)
		return
	}
	n.cur = fresh
	n.left[s] = struct{}{}
	n.mu.Unlock()
	n.cfg.Log.Info("overlay session renewed", "reason", why.Error())
	s.leave(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.left, s)
	})
}

// Close ends the node, its listeners and its connections, within 5 s for each of its sessions.
func (n *Node) Close() error {
	n.end(net.ErrClosed)
	n.mu.Lock()
	all := []*session{n.cur}
	for s := range n.left {
		all = append(all, s)
	}
	n.mu.Unlock()
	var errs []error
	for _, s := range all {
		errs = append(errs, s.close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close overlay identity %s: %w", n.id.name, err)
	}
	return nil
}

// retry calls f until it succeeds, ctx ends, or the failure is one that waiting does not mend. Just after a listen or a
// change of policies the network still answers from what it knew.
func retry[T io.Closer](ctx context.Context, s *session, f func(context.Context) (T, error)) (T, error) {
	wait := 50 * time.Millisecond
	for {
		v, err := bounded(ctx, s, f)
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
			_, _ = bounded(ctx, s, func(context.Context) (io.Closer, error) { return io.NopCloser(nil), s.sdk.RefreshServices() })
		}
	}
}

// passing reports whether the SDK's failure may mend itself within seconds. It has no types for these.
func passing(err error) bool {
	s := err.Error()
	return strings.Contains(s, "has no terminators") || strings.Contains(s, "no edge routers available") || isNotFound(err)
}

func isNotFound(err error) bool {
	s := err.Error()
	return strings.HasPrefix(s, "service '") && strings.Contains(s, "not found")
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
