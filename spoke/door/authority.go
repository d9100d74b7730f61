package door

import (
	"bytes"
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
	"path/filepath"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Lives of certificates. The authority's is long because pods that run were told it when they began; the door's own is
// renewed at two thirds of its life. Both begin a while ago, for machines whose clocks are behind.
const (
	authorityLife = 20 * 365 * 24 * time.Hour
	leafLife      = 30 * 24 * time.Hour
	clockSlack    = time.Hour
)

// authorityFile holds the certificate of the authority and its key.
const authorityFile = "door-authority.pem"

// Authority is a spoke's own: it vouches for the door alone, and harnesses believe nobody else.
type Authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	names []string
	now   func() time.Time

	mu   sync.Mutex
	leaf *tls.Certificate // guarded by mu
}

// OpenAuthority reads the authority that is kept in a directory, or makes one and keeps it there. The door's certificate names
// [harnessv1.ServerName] and the further names, host names or IP addresses. A file that is damaged is an error and never
// replaced: harnesses that run believe the authority that it held.
func OpenAuthority(dir string, names ...string) (*Authority, error) {
	return openAuthority(dir, time.Now, names...)
}

func openAuthority(dir string, now func() time.Time, names ...string) (*Authority, error) {
	path := filepath.Join(dir, authorityFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = newAuthority(path, now())
	}
	if err != nil {
		return nil, fmt.Errorf("authority of the door: %w", err)
	}
	a := &Authority{names: names, now: now}
	if a.cert, a.key, err = parseAuthority(text); err == nil && now().After(a.cert.NotAfter) {
		err = fmt.Errorf("it was valid until %s", a.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return nil, &api.Error{Code: api.CodeFailed, Err: fmt.Errorf("authority of the door, %s: %w: bring the file back from a copy; "+
			"or remove it, then a new authority is made at the next start, and sessions that run are cut off and begin anew in other pods", path, err)}
	}
	return a, nil
}

// newAuthority makes an authority and keeps it; one that somebody else has kept meanwhile stays and counts.
func newAuthority(path string, now time.Time) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make its directory: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := template("Nave spoke", now, authorityLife)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := keep(path, text); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// keep writes a file with mode 0600 that is there as a whole or not at all. One that is there already stays.
func keep(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".authority-") // with mode 0600
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write: %w", err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync its directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// parseAuthority reads what newAuthority wrote.
func parseAuthority(text []byte) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	first, rest := pem.Decode(text)
	if first == nil || first.Type != "CERTIFICATE" {
		return nil, nil, errors.New("it does not begin with a certificate")
	}
	second, rest := pem.Decode(rest)
	if second == nil || second.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, errors.New("a private key is to follow the certificate, and nothing else")
	}
	cert, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return nil, nil, errors.New("its certificate cannot be decoded")
	}
	secret, err := x509.ParsePKCS8PrivateKey(second.Bytes)
	key, ok := secret.(*ecdsa.PrivateKey)
	switch {
	case err != nil || !ok:
		return nil, nil, errors.New("its key cannot be decoded") // the cause may tell of the key
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, nil, errors.New("its key is not that of its certificate")
	case !cert.IsCA:
		return nil, nil, errors.New("its certificate is not that of an authority")
	}
	return cert, key, nil
}

// PEM is the certificate of the authority, which harnesses are told.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Certificate is the door's certificate. It is made anew at two thirds of its life; it may be asked for at the same time.
func (a *Authority) Certificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if l := a.leaf; l != nil {
		if begun := l.Leaf.NotBefore.Add(clockSlack); now.Before(begun.Add(l.Leaf.NotAfter.Sub(begun) * 2 / 3)) {
			return l, nil
		}
	}
	leaf, err := a.issue(now)
	if err != nil {
		return nil, fmt.Errorf("certificate of the door: %w", err)
	}
	a.leaf = leaf
	return leaf, nil
}

func (a *Authority) issue(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := template(harnessv1.ServerName, now, leafLife)
	if err != nil {
		return nil, err
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = []string{harnessv1.ServerName}
	for _, name := range a.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if name != "" && name != harnessv1.ServerName {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, nil
}

// template is what certificates have in common.
func template(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-clockSlack), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature}, err
}
