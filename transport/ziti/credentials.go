package ziti

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// AuthInfo is what a connection made with these credentials is known by.
type AuthInfo struct {
	credentials.TLSInfo
	PeerID string // id of the overlay identity at the other end, proved by its certificate
}

// PeerIdentity returns the overlay identity of the caller of a gRPC method. It is false unless the connection was made
// with [ServerCredentials].
func PeerIdentity(ctx context.Context) (string, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	info, ok := p.AuthInfo.(AuthInfo)
	return info.PeerID, ok && info.PeerID != ""
}

// AllowIDs allows exactly these identities.
func AllowIDs(ids ...string) func(id string) bool {
	ids = slices.Clone(ids)
	return func(id string) bool { return slices.Contains(ids, id) }
}

// ServerCredentials are those of a host: TLS 1.3 with the node's certificate. Every identity of the controller's
// authority passes; which of them may do what is for the server to decide by [PeerIdentity].
func ServerCredentials(n *Node) credentials.TransportCredentials {
	c := n.id.tls(nil)
	c.ClientAuth = tls.RequireAnyClientCert // the chain is checked by VerifyConnection: these certificates have no TLS usages
	c.SessionTicketsDisabled = true
	return creds{credentials.NewTLS(c), &n.peers}
}

// ClientCredentials are those of a dialer. A host whose identity allow does not allow is refused; allow is asked at every
// handshake and must not be nil.
func ClientCredentials(n *Node, allow func(id string) bool) credentials.TransportCredentials {
	if allow == nil {
		panic("ziti: ClientCredentials without allow")
	}
	c := n.id.tls(allow)
	c.InsecureSkipVerify = true // only the host name, which means nothing here; the chain is checked by VerifyConnection
	return creds{credentials.NewTLS(c), nil}
}

func (p *parsed) tls(allow func(id string) bool) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{p.cert},
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := p.verify(s)
			if err == nil && allow != nil && !allow(id) {
				err = fmt.Errorf("overlay identity %s is not who may be here", id)
			}
			return err
		},
	}
}

// verify returns the identity that the peer proved.
func (p *parsed) verify(s tls.ConnectionState) (string, error) {
	if s.DidResume {
		return "", errors.New("a resumed TLS session proves nothing")
	}
	if len(s.PeerCertificates) == 0 {
		return "", errors.New("the peer sent no certificate")
	}
	leaf, between := s.PeerCertificates[0], x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if leaf.IsCA {
		return "", errors.New("the peer's certificate is an authority's")
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: p.pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return "", fmt.Errorf("the peer's certificate is not of the overlay's authority: %w", err)
	}
	if leaf.Subject.CommonName == "" {
		return "", errors.New("the peer's certificate names nobody")
	}
	return leaf.Subject.CommonName, nil
}

// creds adds the peer's identity to what the connection is known by.
type creds struct {
	credentials.TransportCredentials
	peers *peers // where accepted connections are entered; nil on the dialing side
}

// ServerHandshake implements credentials.TransportCredentials.
func (c creds) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := identified(c.TransportCredentials.ServerHandshake(raw))
	if err != nil {
		return nil, nil, err
	}
	return c.peers.enter(conn, info.(AuthInfo).PeerID), info, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (c creds) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return identified(c.TransportCredentials.ClientHandshake(ctx, authority, raw))
}

// Clone implements credentials.TransportCredentials.
func (c creds) Clone() credentials.TransportCredentials {
	return creds{c.TransportCredentials.Clone(), c.peers}
}

// identified is called after VerifyConnection has accepted the peer.
func identified(conn net.Conn, info credentials.AuthInfo, err error) (net.Conn, credentials.AuthInfo, error) {
	if err != nil {
		return nil, nil, err
	}
	t, ok := info.(credentials.TLSInfo)
	if !ok || len(t.State.PeerCertificates) == 0 {
		_ = conn.Close()
		return nil, nil, errors.New("the handshake left no peer certificate")
	}
	return conn, AuthInfo{TLSInfo: t, PeerID: t.State.PeerCertificates[0].Subject.CommonName}, nil
}
