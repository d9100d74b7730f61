package dev

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// Lives of certificates. The authority's is long because join tokens and contexts pin it; the server's is renewed at every
// start.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 397 * 24 * time.Hour
)

// ServerTLS issues a certificate of the local authority for the given hosts and loopback, and returns the server's
// configuration and the authority as PEM.
func (d *Directory) ServerTLS(now time.Time, hosts ...string) (*tls.Config, []byte, error) {
	ca, key, err := d.authority(now)
	if err != nil {
		return nil, nil, fmt.Errorf("local authority: %w", err)
	}
	template, err := certificate("nave-hub", now, serverLife)
	if err != nil {
		return nil, nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if h != "" {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &leaf.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
		// The authority goes along, so that a join token that pins it can be checked against what is presented.
		Certificates: []tls.Certificate{{Certificate: [][]byte{der, ca.Raw}, PrivateKey: leaf}}}, pemOf(ca), nil
}

// authority reads the local authority, or makes it.
func (d *Directory) authority(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	if _, err := os.Stat(d.Join("ca.pem")); errors.Is(err, fs.ErrNotExist) {
		return d.newAuthority(now)
	}
	pair, err := tls.LoadX509KeyPair(d.Join("ca.pem"), d.Join("ca.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s has lost its key: bring %s back, or remove the certificate; then everybody who trusts it must be told the new one: %w", d.Join("ca.pem"), d.Join("ca.key"), err)
	}
	if err != nil {
		return nil, nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("%s: the key is not ECDSA", d.Join("ca.key"))
	}
	ca, err := x509.ParseCertificate(pair.Certificate[0])
	return ca, key, err
}

func (d *Directory) newAuthority(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template, err := certificate("Nave local authority", now, authorityLife)
	if err != nil {
		return nil, nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	b, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	// The key first: a certificate without its key would be taken for an authority that lost it.
	if err := d.write("ca.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})); err != nil {
		return nil, nil, err
	}
	return ca, key, d.write("ca.pem", pemOf(ca))
}

func certificate(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature}, err
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
