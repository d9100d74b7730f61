package client

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
)

// Config says how to reach a hub.
type Config struct {
	Address      string        // "https://host:port"
	CA           []byte        // PEM; the only authorities that are trusted. Empty: those of the system
	Token        string        // bearer token; empty sends none
	Organization string        // of requests that name none; empty leaves it to the hub ("default")
	Timeout      time.Duration // of one call with its repetitions, when the caller's context has no deadline; default 30 s, 100 ms to 1 h
	Attempts     int           // of a call while the hub is unavailable and repeating is safe; default and most 6
	Log          *slog.Logger  // repeated calls; default discards
}

func (c *Config) validate() (*x509.CertPool, error) {
	if _, err := parseAddress(c.Address); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > time.Hour {
		return nil, api.Invalid("timeout", "%v: want 100ms to 1h", c.Timeout)
	}
	if c.Attempts == 0 {
		c.Attempts = maxAttempts
	}
	if c.Attempts < 1 || c.Attempts > maxAttempts {
		return nil, api.Invalid("attempts", "%d: want 1 to %d", c.Attempts, maxAttempts)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Organization != "" {
		if err := api.ValidateName("organization", c.Organization); err != nil {
			return nil, err
		}
	}
	for i := range len(c.Token) {
		if c.Token[i] <= ' ' || c.Token[i] > '~' {
			return nil, api.Invalid("token", "holds a space or a control character: copy it as one word")
		}
	}
	if len(c.CA) == 0 {
		return nil, nil
	}
	certs, err := parseCertificates(c.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, nil
}

// parseAddress checks a hub's address: https, a host, and nothing behind it.
func parseAddress(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, api.Invalid("address", "%.100q is not the address of a hub: use https://host:port", address)
	}
	return u, nil
}

// parseCertificates reads PEM that holds certificates and nothing else.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			return nil, api.Invalid("ca", "holds a %q: give certificates only", b.Type)
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, api.Invalid("ca", "certificate %d cannot be read: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, api.Invalid("ca", "holds no certificate: give the hub's authority as PEM")
	}
	return certs, nil
}

// Client calls one hub. It is safe for concurrent use. Requests that name no organization get that of the Config filled in.
type Client struct {
	Environments      navev1connect.EnvironmentsClient
	Agents            navev1connect.AgentsClient
	PlacementPolicies navev1connect.PlacementPoliciesClient
	Sessions          navev1connect.SessionsClient
	Clusters          navev1connect.ClustersClient
	Enrollment        navev1connect.EnrollmentClient
	Approvals         navev1connect.ApprovalsClient
	Grants            navev1connect.GrantsClient
	System            navev1connect.SystemClient

	transport *http.Transport
	authority atomic.Pointer[x509.Certificate]
}

// New makes a client. It connects with the first call.
func New(cfg Config) (*Client, error) {
	pool, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	c := &Client{}
	c.transport = newTransport(&tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    pool,
		VerifyConnection: func(s tls.ConnectionState) error {
			c.authority.Store(presentedAuthority(s))
			return nil
		},
	})
	c.connect(cfg, c.transport)
	return c, nil
}

func (c *Client) connect(cfg Config, transport http.RoundTripper) {
	hc := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	// The gRPC protocol is the one that both of a hub's listeners speak.
	opts := []connect.ClientOption{
		connect.WithGRPC(),
		connect.WithInterceptors(&caller{token: cfg.Token, organization: cfg.Organization, timeout: cfg.Timeout, attempts: cfg.Attempts, log: cfg.Log}),
		connect.WithReadMaxBytes(maxAnswer),
	}
	c.Environments = navev1connect.NewEnvironmentsClient(hc, cfg.Address, opts...)
	c.Agents = navev1connect.NewAgentsClient(hc, cfg.Address, opts...)
	c.PlacementPolicies = navev1connect.NewPlacementPoliciesClient(hc, cfg.Address, opts...)
	c.Sessions = navev1connect.NewSessionsClient(hc, cfg.Address, opts...)
	c.Clusters = navev1connect.NewClustersClient(hc, cfg.Address, opts...)
	c.Enrollment = navev1connect.NewEnrollmentClient(hc, cfg.Address, opts...)
	c.Approvals = navev1connect.NewApprovalsClient(hc, cfg.Address, opts...)
	c.Grants = navev1connect.NewGrantsClient(hc, cfg.Address, opts...)
	c.System = navev1connect.NewSystemClient(hc, cfg.Address, opts...)
}

// maxAnswer bounds one message: a page of 1000 definitions of 256 KiB would not fit, and no hub sends one.
const maxAnswer = 64 << 20

// newTransport bounds every wait below a call, and finds out within 25 s that a silent connection is dead.
func newTransport(t *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     t,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// presentedAuthority is the root that the connection was verified against, if the peer presented it. A join token pins it.
func presentedAuthority(s tls.ConnectionState) *x509.Certificate {
	for _, chain := range s.VerifiedChains {
		root := chain[len(chain)-1]
		for _, cert := range s.PeerCertificates {
			if root.IsCA && cert.Equal(root) {
				return cert
			}
		}
	}
	return nil
}

// Authority is the authority that the hub presented in the last handshake and was verified against. It is nil before the
// first call, and when the hub does not present its authority.
func (c *Client) Authority() *x509.Certificate { return c.authority.Load() }

// Close ends idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }
