package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
)

// dialEtcd connects to an etcd of its own.
func dialEtcd(ctx context.Context, c etcdConfig) (*clientv3.Client, error) {
	password, err := c.Password.read("etcd")
	if err != nil {
		return nil, err
	}
	t, err := c.TLS.load("etcd.tls")
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{Context: ctx, Endpoints: c.Endpoints, Username: c.Username, Password: password, TLS: t, DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, api.Errorf(api.CodeUnavailable, "connect to etcd at %v: %w", c.Endpoints, err)
	}
	return client, nil
}

// load reads the files; without any it returns nil: TLS is then by the system's authorities where the address says so.
func (c clientTLSConfig) load(field string) (*tls.Config, error) {
	if c == (clientTLSConfig{}) {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, api.Invalid(field+".ca_file", "%w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, api.Invalid(field+".ca_file", "%s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := loadPair(field, c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
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
