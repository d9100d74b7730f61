package federation_test

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/internal/federation"
)

// refused runs a hub that is to end with exit code 1 and an error that a person can act on.
func (w *world) refused(args []string, want ...string) {
	w.t.Helper()
	p, err := w.Start("refused", "nave-hub", args...)
	w.must(err)
	if code := exited(p.Wait(w.within())); code != 1 {
		w.t.Errorf("nave-hub %s: exit code %d, want 1:\n%s", federation.Quoted(args), code, p.Output())
	}
	last := ""
	for _, line := range strings.Split(strings.TrimSpace(p.Output()), "\n") {
		if strings.HasPrefix(line, "error: ") {
			last = line
		}
	}
	for _, text := range want {
		if !strings.Contains(last, text) {
			w.t.Errorf("nave-hub %s said %q, want %q in it; all of it:\n%s", federation.Quoted(args), last, text, p.Output())
		}
	}
}

// dev are the arguments of a hub on a directory of its own.
func (w *world) dev(dir string, args ...string) []string {
	return append([]string{"dev", "--data-dir", w.Path(dir), "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"}, args...)
}

// files returns what is in a folder, by name.
func (w *world) files(dir string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(w.Path(dir))
	w.must(err)
	for _, e := range entries {
		b, err := os.ReadFile(w.Path(dir, e.Name()))
		w.must(err)
		out[e.Name()] = string(b)
	}
	return out
}

// TestHubRefusesToStart: each mistake is named with what to do, and what is not the hub's stays as it was.
func TestHubRefusesToStart(t *testing.T) {
	w := newWorld(t)
	t.Run("foreign directory", func(t *testing.T) {
		w := w.at(t)
		w.must(os.Mkdir(w.Path("foreign"), 0o700))
		w.must(os.WriteFile(w.Path("foreign", "thesis.txt"), []byte("mine"), 0o600))
		w.refused(w.dev("foreign"), w.Path("foreign"), "not empty", "thesis.txt", "--data-dir")
		if diff := cmp.Diff(map[string]string{"thesis.txt": "mine"}, w.files("foreign")); diff != "" {
			t.Errorf("the directory (-before +after):\n%s", diff)
		}
	})
	t.Run("newer format", func(t *testing.T) {
		w := w.at(t)
		w.must(os.Mkdir(w.Path("newer"), 0o700))
		marker := `{"kind":"nave-hub-dev","format":99}`
		w.must(os.WriteFile(w.Path("newer", "nave.json"), []byte(marker), 0o600))
		w.refused(w.dev("newer"), "format 99", "newer version")
		if diff := cmp.Diff(map[string]string{"nave.json": marker}, w.files("newer")); diff != "" {
			t.Errorf("the directory (-before +after):\n%s", diff)
		}
	})
	t.Run("another program's directory", func(t *testing.T) {
		w := w.at(t)
		w.must(os.Mkdir(w.Path("other"), 0o700))
		w.must(os.WriteFile(w.Path("other", "nave.json"), []byte(`{"kind":"something"}`), 0o600))
		w.refused(w.dev("other"), "belongs to something else", "--data-dir")
	})
	t.Run("taken port", func(t *testing.T) {
		w := w.at(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		w.must(err)
		defer l.Close()
		for _, flag := range []string{"--listen", "--grpc-listen"} {
			w.refused(w.dev("taken", flag, l.Addr().String()), l.Addr().String(), "in use", flag)
		}
	})
	t.Run("no overlay program", func(t *testing.T) {
		w := w.at(t)
		w.refused(w.dev("nobinary", "--overlay-bin", w.Path("nowhere")), "nave-overlay", "make build")
	})
	t.Run("not loopback", func(t *testing.T) {
		w := w.at(t)
		w.refused(w.dev("exposed", "--listen", "0.0.0.0:0"), "listen", "0.0.0.0", "--allow-exposed")
		w.refused(w.dev("exposed", "--grpc-listen", ":0"), "grpc-listen", "--allow-exposed")
		w.refused(w.dev("exposed", "--overlay-listen", "192.0.2.1"), "overlay-listen", "192.0.2.1", "--allow-exposed")
		w.refused(w.dev("exposed", "--overlay-listen", "nonsense"), "overlay-listen", "nonsense")
	})
	if left := federation.Naming(w.Path()); len(left) > 0 {
		t.Errorf("processes of refused hubs: %+v", left)
	}
}

// interrupted checks Ctrl-C: hub and overlay end in order, and are gone. That the overlay ends by itself when the hub was
// killed and none comes back is shown by the tests of transport/ziti/local with a short grace; here it would take 30 s.
func interrupted(w *world) {
	overlay := w.overlay()
	if len(overlay) != 3 {
		w.t.Fatalf("%d processes of the overlay run, want 3", len(overlay))
	}
	w.refused(w.HubArgs(), "a hub runs on "+w.Path("hub"), "stop it")
	for _, p := range overlay {
		if !p.Alive() {
			w.t.Errorf("%+v ended with the hub that was refused", p)
		}
	}
	w.hub.Signal(syscall.SIGINT)
	if err := w.hub.Wait(w.within()); err != nil {
		w.t.Errorf("the hub ended with %v, want exit code 0:\n%s", err, w.hub.Output())
	}
	for _, p := range overlay {
		if p.Alive() {
			w.t.Errorf("%+v is there still when the hub has ended", p)
		}
	}
	if out := w.hub.Output(); !strings.Contains(out, "stopping the overlay") || !strings.HasSuffix(strings.TrimSpace(out), "stopped") {
		w.t.Errorf("the hub did not say that it stopped:\n%s", out)
	}
	if left := federation.Naming(w.Path("hub")); len(left) > 0 {
		w.t.Errorf("processes of the hub: %+v", left)
	}
}
