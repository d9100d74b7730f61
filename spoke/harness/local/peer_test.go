package local

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/unixsocket"
)

type nothing struct{ Backend }

func (nothing) State(context.Context) State { return State{Key: "k"} }

// TestOnlyTheHarnesssUserAndRootGetAnAnswer, whatever the mode of the socket lets through.
func TestOnlyTheHarnesssUserAndRootGetAnAnswer(t *testing.T) {
	own := uint32(os.Getuid())
	for _, tt := range []struct {
		what string
		peer unixsocket.Credentials
		err  error
		ok   bool
	}{
		{"the same user", unixsocket.Credentials{UID: own}, nil, true},
		{"root", unixsocket.Credentials{UID: 0}, nil, true},
		{"another user", unixsocket.Credentials{UID: own + 1}, nil, false},
		{"nobody knows who", unixsocket.Credentials{UID: own}, errors.New("no"), false},
	} {
		s, err := New(Config{Path: filepath.Join(t.TempDir(), "api.sock"), Backend: nothing{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s.peer = func(net.Conn) (unixsocket.Credentials, error) { return tt.peer, tt.err }
		g := run.NewGroup(t.Context())
		g.Go("server", s.Run)
		<-s.Ready()
		conn, err := net.DialTimeout("unix", s.c.Path, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, werr := io.WriteString(conn, "GET /v1/state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b, rerr := io.ReadAll(conn)
		if got := len(b) > 0; got != tt.ok || os.IsTimeout(rerr) {
			t.Errorf("%s: answered %v, %v, %v", tt.what, got, werr, rerr)
		}
		conn.Close()
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}
}
