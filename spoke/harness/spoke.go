package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Spoke is where a harness finds its spoke: a socket on the same machine, or an address with what each proves to the other.
type Spoke struct {
	Socket string // path; the kernel says who calls. Empty: the rest is given

	Address   string // host:port
	Authority []byte // certificate of the spoke's own authority, PEM: nobody else is believed
	TokenFile string // path of the token that says who calls; read anew for each call
}

func (s *Spoke) validate() error {
	if s.Socket != "" {
		return nil
	}
	if host, _, err := net.SplitHostPort(s.Address); err != nil || host == "" {
		return api.Invalid("Spoke.Address", "%q: want host:port", s.Address)
	}
	if _, err := s.pool(); err != nil {
		return err
	}
	if s.TokenFile == "" {
		return api.Invalid("Spoke.TokenFile", "is missing")
	}
	return nil
}

// pool holds the one authority.
func (s *Spoke) pool() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.Authority) {
		return nil, api.Invalid("Spoke.Authority", "holds no certificate in PEM form")
	}
	return pool, nil
}

// A spoke whose machine has vanished is noticed: after so long without a word it is asked, and has so long for an answer.
const (
	aliveAfter  = 10 * time.Second
	aliveWithin = 5 * time.Second
)

// dialWithin bounds the wait for an address to answer. A service's address may lead to a spoke that is gone, which says nothing; a dial after
// that is led to the next one. What goes on with who has answered may take longer.
const dialWithin = 3 * time.Second

// connect opens a connection.
func (s *Spoke) connect(ctx context.Context) (net.Conn, error) {
	network, at := "unix", s.Socket
	if s.Socket == "" {
		network, at = "tcp", s.Address
	}
	d := net.Dialer{Timeout: dialWithin}
	return d.DialContext(ctx, network, at)
}

// dial makes a connection to the spoke for calls of the harness of a workload. It is opened with the first call.
func (s *Spoke) dial(workload string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())} // the spoke checks the credentials of the peer process
	if s.Socket == "" {
		pool, err := s.pool()
		if err != nil {
			return nil, err
		}
		options = []grpc.DialOption{
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: harnessv1.ServerName})),
			grpc.WithPerRPCCredentials(tokenFile{s.TokenFile, workload}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: aliveAfter, Timeout: aliveWithin}),
			grpc.WithNoProxy(), // what the image's environment says of proxies is the agent's
		}
	}
	cc, err := grpc.NewClient("passthrough:///spoke", append(options,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.connect(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(4<<20)))...)
	if err != nil {
		return nil, fmt.Errorf("dial the spoke: %w", err)
	}
	return cc, nil
}

// maxToken bounds the file of a token, in bytes.
const maxToken = 8 << 10

// tokenFile makes the headers by which a harness says whose it is.
type tokenFile struct{ path, workload string }

// GetRequestMetadata implements [credentials.PerRPCCredentials]. The file is renewed while the harness runs.
func (t tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	text, err := readToken(t.path)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "read the token: %v", err)
	}
	return map[string]string{harnessv1.HeaderToken: "Bearer " + text, harnessv1.HeaderWorkload: t.workload}, nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials]: a token goes to nobody but the spoke.
func (tokenFile) RequireTransportSecurity() bool { return true }

// readToken reads the file. Its errors say nothing of what it holds.
func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", err
	}
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0:
		return "", fmt.Errorf("%s is empty", file)
	case len(b) > maxToken:
		return "", fmt.Errorf("%s holds more than %d bytes", file, maxToken)
	case bytes.ContainsFunc(b, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New(file + " holds something that no token has")
	}
	return string(b), nil
}
