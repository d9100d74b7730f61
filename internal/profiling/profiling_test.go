package profiling_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nave-dev/nave/internal/profiling"
	"github.com/nave-dev/nave/internal/run"
)

func TestOnlyLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "localhost:0", "127.0.0.1", ""} {
		if l, err := profiling.Listen("--profiling-listen", address); err == nil {
			l.Close()
			t.Errorf("%q is taken", address)
		} else if !strings.HasPrefix(err.Error(), "--profiling-listen") {
			t.Errorf("%q: the error does not begin with the field: %v", address, err)
		}
	}
}

func TestProfiles(t *testing.T) {
	l, err := profiling.Listen("listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(context.Background())
	g.Go("profiling", func(ctx context.Context) error { return profiling.Serve(ctx, l) })
	for _, name := range []string{"", "goroutine?debug=1", "allocs", "heap", "mutex", "block"} {
		res, err := http.Get("http://" + l.Addr().String() + "/debug/pprof/" + name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || len(b) == 0 {
			t.Errorf("%q: %s, %d bytes, %v", name, res.Status, len(b), err)
		}
	}
	g.Stop()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get("http://" + l.Addr().String() + "/debug/pprof/"); err == nil {
		t.Error("it serves after its end")
	}
}
