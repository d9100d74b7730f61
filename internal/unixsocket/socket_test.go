package unixsocket_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/unixsocket"
)

func TestSocketIsTakenOverFromTheDeadAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "a.sock")
	l, err := unixsocket.Listen("Path", path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if _, err := unixsocket.Listen("Path", path); api.CodeOf(err) != api.CodeInUse || api.FieldOf(err) != "Path" {
		t.Errorf("one that is served: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as after a crash
	l.Close()
	if l, err = unixsocket.Listen("Path", path); err != nil {
		t.Fatalf("one that is not served any more: %v", err)
	}
	l.Close()
}

func TestPeerIsWhoConnects(t *testing.T) {
	l, err := unixsocket.Listen("Path", filepath.Join(t.TempDir(), "a.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := unixsocket.Peer(s); err != nil || got != (unixsocket.Credentials{UID: uint32(os.Getuid()), PID: os.Getpid()}) {
		t.Errorf("%+v, %v", got, err)
	}
	a, b := net.Pipe()
	a.Close()
	b.Close()
	if _, err := unixsocket.Peer(a); err == nil {
		t.Error("a pipe has a peer")
	}
}

func TestPathsThatCannotBe(t *testing.T) {
	for _, path := range []string{"", "relative.sock", "/" + strings.Repeat("x", unixsocket.MaxPath)} {
		if _, err := unixsocket.Listen("Path", path); api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%q: %v", path, err)
		}
	}
}
