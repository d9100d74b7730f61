package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// testAuthority is a certificate of an authority, PEM.
func testAuthority(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestWhereTheSpokeIs(t *testing.T) {
	good := map[string]string{harnessv1.EnvWorkload: "w", harnessv1.EnvSpoke: "nave-spoke.nave-system.svc:7443", harnessv1.EnvAuthority: string(testAuthority(t)),
		harnessv1.EnvToken: "/nave/identity/token", harnessv1.EnvExit: "/dev/termination-log"}
	for _, tt := range []struct{ name, value, field string }{
		{harnessv1.EnvSpoke, "[fd00::1]:7443", ""}, {harnessv1.EnvWorkload, "", harnessv1.EnvWorkload}, {harnessv1.EnvSpoke, "", harnessv1.EnvSpoke},
		{harnessv1.EnvSpoke, "nave-spoke", harnessv1.EnvSpoke}, {harnessv1.EnvSpoke, ":7443", harnessv1.EnvSpoke}, {harnessv1.EnvAuthority, "", harnessv1.EnvAuthority},
		{harnessv1.EnvAuthority, "-----BEGIN", harnessv1.EnvAuthority}, {harnessv1.EnvToken, "", harnessv1.EnvToken}, {harnessv1.EnvExit, "", harnessv1.EnvExit},
	} {
		got, workload, err := fromEnvironment(func(name string) string {
			if name == tt.name {
				return tt.value
			}
			return good[name]
		})
		if api.FieldOf(err) != tt.field || err == nil && (workload != "w" || got.Address == "" || got.Socket != "" || got.TokenFile != "/nave/identity/token") {
			t.Errorf("%s=%q: %+v, %v; want a complaint about %q", tt.name, tt.value, got, err, tt.field)
		}
		if err != nil && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("the error repeats what it was given: %v", err)
		}
	}
}

// The file is read at each call, and no error says what it holds.
func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	creds := tokenFile{file, "w"}
	if !creds.RequireTransportSecurity() {
		t.Error("a token would be sent in plain text")
	}
	if _, err := creds.GetRequestMetadata(t.Context()); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), file) {
		t.Errorf("without a file: %v", err)
	}
	if _, err := readToken(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for _, tt := range []struct{ text, want string }{
		{"abc.def\n", "abc.def"}, {"  x  ", "x"}, {"next", "next"}, {"", ""}, {"\n", ""}, {"se cret", ""}, {"secret\x00", ""}, {"secr\u00e9t", ""}, {"secret\nsecret", ""}, {strings.Repeat("s", maxToken+1), ""},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := creds.GetRequestMetadata(t.Context())
		if err == nil && (got[harnessv1.HeaderToken] != "Bearer "+tt.want || got[harnessv1.HeaderWorkload] != "w" || tt.want == "") || err != nil && tt.want != "" {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secr") || strings.Contains(err.Error(), "ss")) {
			t.Errorf("the error says what the file holds: %v", err)
		}
	}
}

// Whatever is written over the file, it can be read and is within its bound; nothing of before is left.
func TestExitIsWrittenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "termination-log")
	f := exitFile{path: path, inPlace: true}
	rapid.Check(t, func(t *rapid.T) {
		if rapid.Bool().Draw(t, "begins anew") {
			_ = os.Remove(path)
		}
		e := &harnessv1.Exit{Reason: strings.Repeat(rapid.String().Draw(t, "reason"), rapid.IntRange(0, 2000).Draw(t, "times")),
			Failure: rapid.SampledFrom([]string{"", "configuration", "restore", "crash"}).Draw(t, "failure"), Turn: rapid.Bool().Draw(t, "turn")}
		if rapid.Bool().Draw(t, "not UTF-8") {
			e.Reason = "\xff" + e.Reason
		}
		if err := f.ended(e); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil || len(text) > maxExit || !json.Valid(text) {
			t.Fatalf("%d bytes, %v: %.100q", len(text), err, text)
		}
		var back harnessv1.Exit
		if err := protojson.Unmarshal(text, &back); err != nil || back.Failure != e.Failure || back.Turn != e.Turn || !utf8.ValidString(back.Reason) {
			t.Fatalf("%v became %v: %v", e, &back, err)
		}
		whole := strings.ToValidUTF8(e.Reason, "\ufffd")
		if back.Reason != whole && (len(e.Reason) < 500 || !isShortOf(back.Reason, whole)) {
			t.Fatalf("the reason became %.100q", back.Reason)
		}
	})
	if err := (exitFile{path: filepath.Join(t.TempDir(), "none", "x"), inPlace: true}).began(); err == nil {
		t.Error("a file that cannot be written is no error")
	}
	if err := (exitFile{inPlace: true}).began(); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

// isShortOf reports whether a text is the beginning of a whole and its end, with a mark in between.
func isShortOf(short, whole string) bool {
	for i := range short {
		if rest, ok := strings.CutPrefix(short[i:], " … "); ok && strings.HasPrefix(whole, short[:i]) && strings.HasSuffix(whole, rest) && len(rest) >= i {
			return true
		}
	}
	return false
}

// TestAnAddressThatDoesNotAnswerIsGivenUp: a listener whose queue is full drops what knocks, as the address of a pod that is gone does.
func TestAnAddressThatDoesNotAnswerIsGivenUp(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	s := Spoke{Address: fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)}
	full := false
	for range 10 {
		c, err := net.DialTimeout("tcp", s.Address, 200*time.Millisecond)
		if full = err != nil; full {
			break
		}
		defer c.Close()
	}
	if !full {
		t.Fatal("the listener answers still: this test shows nothing")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	c, err := s.connect(ctx)
	if err == nil {
		c.Close()
		t.Fatal("it answered")
	}
	if took := time.Since(began); took > 2*dialWithin {
		t.Errorf("given up after %v, %v is the limit", took, dialWithin)
	}
}
