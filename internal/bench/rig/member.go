package rig

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/ziti"
)

// Member is what enrolling brings: a spoke without the program.
type Member struct {
	Identity []byte // of the overlay
	Service  string
	Hubs     []string // their identities
}

// Enroll enrolls by a join token, as a spoke does.
func Enroll(ctx context.Context, token client.JoinToken) (Member, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Member{}, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Member{}, err
	}
	e, err := client.Enroll(ctx, token, key)
	for api.CodeOf(err) == api.CodeLimit && Pause(ctx, 100*time.Millisecond) == nil { // the hub takes 20 a second of one address
		e, err = client.Enroll(ctx, token, key)
	}
	if err != nil {
		return Member{}, err
	}
	identity, err := ziti.Enroll(ctx, ziti.Enrollment{Token: e.GetOverlayToken(), CA: e.GetOverlayAuthority(), Controllers: e.GetOverlayControllers(),
		Key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})})
	return Member{identity, e.GetService(), e.GetHubIdentities()}, err
}

// Link opens the overlay as the member, and makes a link that does nothing yet. Each of its connections goes through a function;
// nil leaves them as they are. The caller closes the node after the link's end.
func (m Member) Link(log *slog.Logger, through func(net.Conn) net.Conn) (*ziti.Node, *transport.Link, error) {
	node, err := ziti.OpenNode(ziti.NodeConfig{Identity: m.Identity, Log: log})
	if err != nil {
		return nil, nil, err
	}
	link, err := transport.NewLink(transport.LinkConfig{
		Dial: func(ctx context.Context) (net.Conn, error) {
			c, err := node.Dial(ctx, m.Service)
			if err == nil && through != nil {
				c = through(c)
			}
			return c, err
		},
		Credentials: ziti.ClientCredentials(node, ziti.AllowIDs(m.Hubs...)),
		Log:         log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, node.Close())
	}
	return node, link, nil
}
