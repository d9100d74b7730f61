package loopspoke

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"

	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/ziti"
)

// Config says what a spoke is to do.
type Config struct {
	Token  string // a join token that was not used
	Flavor string // that it offers, for any number of sessions
	Stay   bool   // sessions without work stay; default: they are reported as idle at once, and sleep
	Log    *slog.Logger
}

// Join enrolls and returns a spoke that does nothing yet.
func Join(ctx context.Context, cfg Config) (*Spoke, error) {
	token, err := client.ParseJoinToken(cfg.Token)
	if err != nil {
		return nil, err
	}
	keyPEM, err := ziti.NewKey()
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	e, err := client.Enroll(ctx, token, key)
	if err != nil {
		return nil, err
	}
	identity, err := ziti.Enroll(ctx, ziti.Enrollment{Token: e.GetOverlayToken(), Key: keyPEM, CA: e.GetOverlayAuthority(), Controllers: e.GetOverlayControllers()})
	if err != nil {
		return nil, err
	}
	node, err := ziti.OpenNode(ziti.NodeConfig{Identity: identity, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	link, err := transport.NewLink(transport.LinkConfig{
		Dial:        func(ctx context.Context) (net.Conn, error) { return node.Dial(ctx, e.GetService()) },
		Credentials: ziti.ClientCredentials(node, ziti.AllowIDs(e.GetHubIdentities()...)),
		Now:         boottime.Now,
		Log:         cfg.Log,
	})
	if err != nil {
		return nil, errors.Join(err, node.Close())
	}
	return newSpoke(cfg, link, node.Close), nil
}

func parseKey(keyPEM []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not ECDSA")
	}
	return key, nil
}
