package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store"
)

// dial connects to an etcd of its own and returns when it answers.
func (c etcdConfig) dial(ctx context.Context, log *slog.Logger) (*clientv3.Client, error) {
	password, err := c.Password.read("etcd")
	if err != nil {
		return nil, err
	}
	client, err := store.Dial(ctx, store.DialConfig{Endpoints: c.Endpoints, User: c.Username, Password: password,
		CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, Log: log})
	return client, inSection("etcd", err)
}

// inSection gives an error about a field of a part the field's name in the configuration.
func inSection(section string, err error) error {
	var e *api.Error
	if !errors.As(err, &e) || e.Field == "" {
		return err
	}
	out := *e
	switch field := e.Field; {
	case section == "archive" && field == "postgresql":
		out.Field = "archive.postgresql.dsn"
	case section == "etcd" && field == "user":
		out.Field = "etcd.username"
	case section == "etcd" && field == "password":
		out.Field = "etcd.username" // the password itself has no field
	case section == "etcd" && strings.HasSuffix(field, "_file") && field != "password_file":
		out.Field = "etcd.tls." + field
	default:
		out.Field = section + "." + field
	}
	return &out
}

// loadPair reads a certificate with its key.
func loadPair(field, certFile, keyFile string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return pair, api.Invalid(field, "%w", err)
	}
	if pair.Leaf != nil && time.Now().After(pair.Leaf.NotAfter) {
		return pair, api.Invalid(field+".cert_file", "%s ran out on %s: renew it", certFile, pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return pair, nil
}
