package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	controllerID = "ctrl1"
	pkiYears     = 10 // of the authority and of the controller's own certificate; nobody is there to rotate them
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// ensurePKI makes the authority of one overlay in dir, unless it is there: a root, a signer below it that signs enrolled
// identities, and the controller's certificates for the host that others use. ca.pem holds what a client must trust. The name of the trust domain is
// random, so that two overlays never look alike.
func ensurePKI(dir, host string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	if err := makePKI(tmp, host); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	return os.Rename(tmp, dir)
}

func makePKI(dir, host string) error {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	domain := "nave-" + hex.EncodeToString(id[:])
	ca := func(name string, pathLen int, parent *authority) (*authority, error) {
		return issue(parent, nil, &x509.Certificate{
			Subject: pkix.Name{CommonName: domain + " " + name}, IsCA: true, MaxPathLen: pathLen,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
			URIs:     []*url.URL{{Scheme: "spiffe", Host: domain}},
		})
	}
	root, err := ca("root", 2, nil)
	if err != nil {
		return err
	}
	signer, err := ca("signer", 1, root)
	if err != nil {
		return err
	}
	leaf := func(key *ecdsa.PrivateKey, use x509.ExtKeyUsage) (*authority, error) {
		t := &x509.Certificate{
			Subject: pkix.Name{CommonName: controllerID}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
			ExtKeyUsage: []x509.ExtKeyUsage{use},
			URIs:        []*url.URL{{Scheme: "spiffe", Host: domain, Path: "/controller/" + controllerID}},
		}
		if use == x509.ExtKeyUsageServerAuth {
			t.DNSNames, t.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
			if ip := net.ParseIP(host); ip != nil {
				t.IPAddresses = append(t.IPAddresses, ip)
			} else {
				t.DNSNames = append(t.DNSNames, host)
			}
		}
		return issue(signer, key, t)
	}
	server, err := leaf(nil, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	client, err := leaf(server.key, x509.ExtKeyUsageClientAuth) // OpenZiti reads both with one key
	if err != nil {
		return err
	}
	return errors.Join(
		writeCerts(dir, "root.cert", root), writeKey(dir, "root.key", root),
		writeCerts(dir, "signer.cert", signer), writeKey(dir, "signer.key", signer),
		writeKey(dir, "server.key", server),
		writeCerts(dir, "server.chain.pem", server, signer),
		writeCerts(dir, "client.chain.pem", client, signer),
		writeCerts(dir, "ca.pem", root, signer),
	)
}

// issue signs a certificate by parent (nil: by itself) for key (nil: a new one).
func issue(parent *authority, key *ecdsa.PrivateKey, t *x509.Certificate) (*authority, error) {
	var err error
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, err
	}
	now := time.Now()
	t.NotBefore, t.NotAfter = now.Add(-time.Hour), now.AddDate(pkiYears, 0, 0) // an hour for clocks that are behind
	t.BasicConstraintsValid = true
	by := &authority{cert: t, key: key}
	if parent != nil {
		by = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, t, by.cert, &key.PublicKey, by.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert: cert, key: key}, err
}

func writeKey(dir, name string, a *authority) error {
	b, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b}))
}

func writeCerts(dir, name string, chain ...*authority) error {
	var b bytes.Buffer
	for _, a := range chain {
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(dir, name), b.Bytes())
}
