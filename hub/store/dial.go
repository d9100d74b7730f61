package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store/zaplog"
	"github.com/nave-dev/nave/internal/run"
)

// DialConfig says where an etcd of its own is and how to be let in. Errors name its fields in small letters, as the comments
// do.
type DialConfig struct {
	Endpoints []string // endpoints: one to 16 URLs of members, all https, all http or all unix

	CAFile   string // ca_file: PEM, who signs the members' certificates; empty: the system's authorities
	CertFile string // cert_file: PEM, our certificate; read again for every connection, so that it can be replaced
	KeyFile  string // key_file: PEM, its key

	User         string // user: in etcd; empty when etcd does not ask
	Password     string // password
	PasswordFile string // password_file: holds the password instead; a line break at its end is left out

	Timeout time.Duration // timeout: of the first contact; default 10 s, at most 1 min
	Log     *slog.Logger  // required: warnings of the client
}

// oldest etcd that is known to do what the store needs.
const oldestMajor, oldestMinor = 3, 5

// maxSend lets the server say what is too large. The client's own limit may be lower than the server's.
const maxSend = 64 << 20

func (c *DialConfig) validate() (tlsConfig *tls.Config, err error) {
	if c.Log == nil {
		return nil, errors.New("config of the connection to etcd: log is missing")
	}
	if n := len(c.Endpoints); n < 1 || n > 16 {
		return nil, api.Invalid("endpoints", "%d of them: want 1 to 16, such as https://etcd-0:2379", n)
	}
	scheme := ""
	for i, e := range c.Endpoints {
		field := fmt.Sprintf("endpoints[%d]", i)
		u, err := url.Parse(e)
		switch {
		case err != nil:
			return nil, api.Invalid(field, "%q is not a URL: %v", e, err)
		case u.Scheme == "unix":
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Port() == "" || u.Path != "" && u.Path != "/":
			return nil, api.Invalid(field, "%q: want https://host:port, http://host:port or unix:///path", e)
		}
		if scheme == "" {
			scheme = u.Scheme
		}
		if u.Scheme != scheme {
			return nil, api.Invalid(field, "%q: want all of them with the same scheme, the first has %s", e, scheme)
		}
	}
	if c.Password != "" && c.PasswordFile != "" {
		return nil, api.Invalid("password_file", "give a password or a file with it, not both")
	}
	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, api.Invalid("password_file", "cannot be read: %v", err)
		}
		c.Password = strings.TrimRight(string(text), "\r\n")
	}
	if c.User == "" && c.Password != "" {
		return nil, api.Invalid("user", "is missing and there is a password")
	}
	if c.User != "" && c.Password == "" {
		return nil, api.Invalid("password", "of user %s is missing", c.User)
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Timeout < 0 || c.Timeout > time.Minute {
		return nil, api.Invalid("timeout", "%v: want up to 1m", c.Timeout)
	}
	for field, file := range map[string]string{"ca_file": c.CAFile, "cert_file": c.CertFile, "key_file": c.KeyFile} {
		if file != "" && scheme != "https" {
			return nil, api.Invalid(field, "is of no use with %s endpoints: want https", scheme)
		}
	}
	if scheme != "https" {
		return nil, nil
	}
	return c.tls()
}

func (c *DialConfig) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, api.Invalid("ca_file", "cannot be read: %v", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, api.Invalid("ca_file", "%s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile == "" && c.KeyFile == "" {
		return t, nil
	}
	for field, file := range map[string]string{"cert_file": c.CertFile, "key_file": c.KeyFile} {
		if file == "" {
			return nil, api.Invalid(field, "is missing: certificate and key belong together")
		}
		if _, err := os.ReadFile(file); err != nil {
			return nil, api.Invalid(field, "cannot be read: %v", err)
		}
	}
	pair := func() (*tls.Certificate, error) {
		p, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		return &p, err
	}
	if _, err := pair(); err != nil {
		return nil, api.Invalid("cert_file", "%s and key file %s are not a pair: %v", c.CertFile, c.KeyFile, err)
	}
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair() }
	return t, nil
}

// Dial connects to an etcd and returns when it answers. One member that can be reached is enough. CodeInvalid names the field
// that is wrong, CodeDenied says that etcd does not let us in, CodeUnavailable that it does not answer within the timeout, and
// CodeUnsupported that it is too old. The caller closes the client.
func Dial(ctx context.Context, cfg DialConfig) (*clientv3.Client, error) {
	const op = "connect to etcd"
	named := func(err error) error {
		var e *api.Error
		if errors.As(err, &e) && e.Op == "" {
			e.Op = op
		}
		return err
	}
	tlsConfig, err := cfg.validate()
	if err != nil {
		return nil, named(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, fmt.Errorf("no answer within %v", cfg.Timeout))
	defer cancel()
	if err := reach(ctx, cfg.Endpoints, tlsConfig); err != nil {
		return nil, named(err)
	}
	// The library waits by a clock of its own for what cannot be had: this one counts.
	c, err := run.Bounded(ctx, func() (*clientv3.Client, error) {
		return clientv3.New(clientv3.Config{
			Endpoints: cfg.Endpoints, TLS: tlsConfig, Username: cfg.User, Password: cfg.Password, DialTimeout: cfg.Timeout,
			DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second, // etcd refuses pings more often
			MaxCallSendMsgSize: maxSend, Logger: zaplog.New(cfg.Log),
		})
	}, func(c *clientv3.Client) { _ = c.Close() })
	if err != nil {
		return nil, named(refused(err, cfg))
	}
	_, err = run.Bounded(ctx, func() (struct{}, error) { return struct{}{}, greet(ctx, c) }, nil)
	if err != nil {
		_ = c.Close()
		return nil, named(refused(err, cfg))
	}
	return c, nil
}

// greet looks whether the cluster has a leader that answers, and how old it is.
func greet(ctx context.Context, c *clientv3.Client) error {
	_, err := c.Get(ctx, DefaultPrefix, clientv3.WithCountOnly())
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) { // who is denied was let in; the store says more
		return err
	}
	for _, e := range c.Endpoints() {
		s, err := c.Status(ctx, e)
		if err != nil {
			continue // another one answers
		}
		var major, minor int
		if _, err := fmt.Sscanf(s.Version, "%d.%d", &major, &minor); err == nil && (major < oldestMajor || major == oldestMajor && minor < oldestMinor) {
			return &api.Error{Code: api.CodeUnsupported, Field: "endpoints", Err: fmt.Errorf("%s runs etcd %s: want %d.%d or newer", e, s.Version, oldestMajor, oldestMinor)}
		}
		return nil
	}
	return nil // it answered a read; the version can wait
}

// refused says which field is at fault when etcd answers, but not as it should.
func refused(err error, cfg DialConfig) error {
	var own *api.Error
	switch {
	case errors.As(err, &own):
		return err
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return &api.Error{Code: api.CodeDenied, Field: "password", Err: fmt.Errorf("etcd does not take user %s with this password", cfg.User)}
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return &api.Error{Code: api.CodeDenied, Field: "user", Err: errors.New("etcd asks for a user and a password")}
	}
	return &api.Error{Code: api.CodeUnavailable, Field: "endpoints", Err: fmt.Errorf("etcd can be reached and does not answer: has it lost its majority, or does it want another scheme? %w", err)}
}

// reach connects to all endpoints at once and returns when one could be reached. When none could, the error is the one that
// says most.
func reach(ctx context.Context, endpoints []string, t *tls.Config) error {
	results := make(chan error, len(endpoints)) // one each
	g := run.NewGroup(ctx)
	defer func() {
		g.Stop()
		_ = g.Wait() // the results say it
	}()
	for _, e := range endpoints {
		g.Go("connect", func(ctx context.Context) error {
			results <- connect(ctx, e, t)
			return nil
		})
	}
	var worst error
	for range endpoints {
		err := <-results
		if err == nil {
			return nil
		}
		if worst == nil || api.CodeOf(worst) == api.CodeUnavailable {
			worst = err
		}
	}
	return worst
}

func connect(ctx context.Context, endpoint string, t *tls.Config) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	network, address := "tcp", u.Host
	if u.Scheme == "unix" {
		network, address = "unix", u.Host+u.Path
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return &api.Error{Code: api.CodeUnavailable, Field: "endpoints", Err: fmt.Errorf("%s cannot be reached: is etcd running there? %w", endpoint, err)}
	}
	defer func() { _ = conn.Close() }()
	if t == nil {
		return nil
	}
	own := t.Clone()
	own.ServerName, own.NextProtos = u.Hostname(), []string{"h2"}
	c := tls.Client(conn, own)
	if err = c.HandshakeContext(ctx); err == nil {
		err = hello(ctx, c)
	}
	var (
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		record    tls.RecordHeaderError
	)
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "remote error: tls"): // the library has no type for it
		return &api.Error{Code: api.CodeDenied, Field: "cert_file", Err: fmt.Errorf("%s wants the certificate of a client that it trusts: %w", endpoint, err)}
	case errors.As(err, &authority):
		return &api.Error{Code: api.CodeInvalid, Field: "ca_file", Err: fmt.Errorf("%s shows a certificate that it did not sign: %w", endpoint, err)}
	case errors.As(err, &name):
		return &api.Error{Code: api.CodeInvalid, Field: "endpoints", Err: fmt.Errorf("%s shows a certificate of another name: %w", endpoint, err)}
	case errors.As(err, &invalid):
		return &api.Error{Code: api.CodeInvalid, Field: "endpoints", Err: fmt.Errorf("%s shows a certificate that cannot be used: %w", endpoint, err)}
	case errors.As(err, &record):
		return &api.Error{Code: api.CodeInvalid, Field: "endpoints", Err: fmt.Errorf("%s does not speak TLS: want http there, or TLS in etcd", endpoint)}
	}
	return &api.Error{Code: api.CodeUnavailable, Field: "endpoints", Err: fmt.Errorf("%s cannot be reached: %w", endpoint, err)}
}

// hello begins HTTP/2 and waits for the answer: in TLS 1.3 a server that does not take our certificate says so only after the
// handshake has ended on our side.
func hello(ctx context.Context, c net.Conn) error {
	const patience = 2 * time.Second
	until := time.Now().Add(patience)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	if err := c.SetDeadline(until); err != nil {
		return err
	}
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // an empty frame of settings
	if _, err := c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}
