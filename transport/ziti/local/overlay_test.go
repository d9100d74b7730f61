package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/ziti/local"
	"github.com/nave-dev/nave/transport/ziti/zititest"
)

var names = []string{"controller", "r1", "r2"}

// start runs o and returns when it serves, and what drops it without ending its processes.
func start(t *testing.T, o *local.Overlay) (local.Endpoint, func()) {
	t.Helper()
	g := run.NewGroup(context.Background())
	g.Go("overlay", o.Run)
	drop := func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(drop)
	ep, err := o.Wait(zititest.Context(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return ep, drop
}

// pids returns the processes that serve dir, by name.
func pids(t *testing.T, dir string) map[string]int {
	t.Helper()
	m := map[string]int{}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name, "ready"))
		if err != nil {
			t.Fatal(err)
		}
		if m[name], err = strconv.Atoi(string(b)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// living returns the processes of the system that work on dir. One that has ended and was not waited for has no command
// line and does not count.
func living(t *testing.T, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(b, []byte(dir+"/")) {
			found = append(found, pid)
		}
	}
	return found
}

// eventually waits until cond holds.
func eventually(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	ctx := zititest.Context(t, within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}

func TestDroppedOverlayIsAdoptedAndStopLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay")
	fresh := time.Now()
	first, drop := start(t, zititest.Local(t, local.Config{Dir: dir}))
	t.Logf("fresh directory: %s until all serve", time.Since(fresh).Round(time.Millisecond))
	before := pids(t, dir)
	drop()

	o := zititest.Local(t, local.Config{Dir: dir})
	adopted := time.Now()
	second, drop := start(t, o)
	t.Logf("adopted: %s", time.Since(adopted).Round(time.Millisecond))
	if d := cmp.Diff(before, pids(t, dir)); d != "" {
		t.Errorf("processes were started anew (-first +second):\n%s", d)
	}
	if d := cmp.Diff(first, second); d != "" {
		t.Errorf("endpoint changed (-first +second):\n%s", d)
	}
	drop()
	if err := o.Stop(zititest.Context(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if left := living(t, dir); len(left) > 0 {
		t.Fatalf("processes left after Stop: %v", left)
	}

	existing := time.Now()
	third, _ := start(t, zititest.Local(t, local.Config{Dir: dir}))
	t.Logf("existing directory: %s until all serve", time.Since(existing).Round(time.Millisecond))
	if d := cmp.Diff(first, third); d != "" {
		t.Errorf("endpoint changed over a restart (-first +third):\n%s", d)
	}
}

func TestKilledRouterIsRestartedAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay")
	o := zititest.Local(t, local.Config{Dir: dir})
	start(t, o)
	before := pids(t, dir)
	if err := o.Serving(); err != nil {
		t.Errorf("an overlay that serves says that %v", err)
	}
	if err := syscall.Kill(before["r1"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "r1 is missed", func() bool {
		err := o.Serving()
		return err != nil && strings.HasPrefix(err.Error(), "r1 does not serve")
	})
	eventually(t, 20*time.Second, "r1 serves again", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "r1", "ready"))
		return err == nil && len(b) > 0 && string(b) != fmt.Sprint(before["r1"])
	})
	after := pids(t, dir)
	if before["controller"] != after["controller"] || before["r2"] != after["r2"] {
		t.Errorf("others were restarted too: before %v, after %v", before, after)
	}
	eventually(t, 20*time.Second, "nothing is missed", func() bool { return o.Serving() == nil })
}

// A process that is stopped holds its lock and its ports, and answers nothing.
func TestHungProcessIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay")
	start(t, zititest.Local(t, local.Config{Dir: dir}))
	before := pids(t, dir)
	for _, name := range []string{"controller", "r1"} {
		if err := syscall.Kill(before[name], syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	stopped := time.Now()
	for _, name := range []string{"controller", "r1"} {
		eventually(t, 40*time.Second, name+" serves again", func() bool {
			b, err := os.ReadFile(filepath.Join(dir, name, "ready"))
			return err == nil && len(b) > 0 && string(b) != fmt.Sprint(before[name])
		})
		t.Logf("%s serves again %s after it was stopped", name, time.Since(stopped).Round(time.Millisecond))
	}
	if took := time.Since(stopped); took < 10*time.Second {
		t.Errorf("ended after %s, want ten seconds of silence before", took)
	}
	if after := pids(t, dir); before["r2"] != after["r2"] {
		t.Errorf("one that is well was restarted too: before %v, after %v", before, after)
	}
}

func TestProcessesEndWhenNoHubComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay")
	const grace = 3 * time.Second
	_, drop := start(t, zititest.Local(t, local.Config{Dir: dir, Grace: grace}))
	if got := len(living(t, dir)); got != 3 {
		t.Fatalf("%d processes serve, want 3", got)
	}
	drop()
	dropped := time.Now()
	eventually(t, 30*time.Second, "all processes ended", func() bool { return len(living(t, dir)) == 0 })
	// The last poll that saw the lease may be a second old.
	if took := time.Since(dropped); took < grace-time.Second-100*time.Millisecond {
		t.Errorf("ended %s after the hub, want the grace of %s to be kept", took, grace)
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name, "ready")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s left its file ready: %v", name, err)
		}
	}
}

func TestOneHubForADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay")
	start(t, zititest.Local(t, local.Config{Dir: dir}))
	second, err := local.New(local.Config{Dir: dir, Binary: zititest.Binary(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(zititest.Context(t, 20*time.Second)); !errors.Is(err, local.ErrInUse) {
		t.Errorf("Run of a second hub = %v, want ErrInUse", err)
	}
	if err := second.Stop(zititest.Context(t, 20*time.Second)); !errors.Is(err, local.ErrInUse) {
		t.Errorf("Stop by a second hub = %v, want ErrInUse", err)
	}
	if got := len(living(t, dir)); got != 3 {
		t.Errorf("%d processes serve, want the first hub's 3", got)
	}
}

// settings writes what a first start would have chosen, with the given ports, and returns the overlay's directory.
func settings(t *testing.T, ports []int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "overlay")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := fmt.Sprintf(`{"address":"127.0.0.1","controllerPort":%d,"routers":[{"name":"r1","edgePort":%d,"linkPort":%d},{"name":"r2","edgePort":%d,"linkPort":%d}]}`,
		ports[0], ports[1], ports[2], ports[3], ports[4])
	if err := os.WriteFile(filepath.Join(dir, "settings.json"), []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTakenPortIsNamed(t *testing.T) {
	var ports []int
	var listeners []net.Listener
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports, listeners = append(ports, l.Addr().(*net.TCPAddr).Port), append(listeners, l)
	}
	for i, l := range listeners {
		if i != 4 { // the second router's link port stays taken, so that controller and first router are started before
			l.Close()
		}
	}
	defer listeners[4].Close()
	dir := settings(t, ports)
	o := zititest.Local(t, local.Config{Dir: dir})
	err := o.Run(zititest.Context(t, 30*time.Second))
	var pe *local.PortError
	if !errors.As(err, &pe) || pe.Process != "r2" || int(pe.Addr.Port()) != ports[4] {
		t.Fatalf("Run = %v, want a PortError of r2 and port %d", err, ports[4])
	}
	if want := strconv.Itoa(ports[4]); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not name the port %s", err, want)
	}
	if left := living(t, dir); len(left) > 0 {
		t.Errorf("a start that failed left processes: %v", left)
	}
	if _, err := o.Wait(zititest.Context(t, time.Second)); !errors.As(err, &pe) {
		t.Errorf("Wait = %v, want the PortError", err)
	}
}

func TestProgramThatEndsAtOnceIsReportedWithItsWords(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "nave-overlay")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\necho no such luck >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	o, err := local.New(local.Config{Dir: filepath.Join(dir, "overlay"), Binary: bin})
	if err != nil {
		t.Fatal(err)
	}
	err = o.Run(zititest.Context(t, 30*time.Second))
	if err == nil || !strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "controller") {
		t.Fatalf("Run = %v, want the process and its words", err)
	}
}

func TestAddressIsFixed(t *testing.T) {
	dir := settings(t, []int{1, 2, 3, 4, 5})
	o, err := local.New(local.Config{Dir: dir, Binary: "/nonexistent", Listen: netip.MustParseAddr("127.0.0.2")})
	if err != nil {
		t.Fatal(err)
	}
	err = o.Run(zititest.Context(t, 10*time.Second))
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1") || !strings.Contains(err.Error(), "Listen") {
		t.Fatalf("Run = %v, want a refusal that names Listen and the address of the first start", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  local.Config
		want string // in the error
	}{
		{"no directory", local.Config{Binary: "x"}, "Dir"},
		{"no program", local.Config{Dir: "x"}, "Binary"},
		{"every address", local.Config{Dir: "x", Binary: "x", Listen: netip.IPv4Unspecified()}, "Listen"},
		{"an address behind a name", local.Config{Dir: "x", Binary: "x", Listen: netip.MustParseAddr("192.0.2.1"), Advertise: "overlay.example.com"}, "Listen"},
		{"a name that is none", local.Config{Dir: "x", Binary: "x", Advertise: "Overlay_1"}, "Advertise"},
		{"no room for ports", local.Config{Dir: "x", Binary: "x", Port: 65533}, "Port"},
		{"short grace", local.Config{Dir: "x", Binary: "x", Grace: time.Millisecond}, "Grace"},
		{"small log", local.Config{Dir: "x", Binary: "x", LogBytes: 1}, "LogBytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := local.New(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("New = %v, want an error that names %s", err, tc.want)
			}
		})
	}
}

func TestFindBinary(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "nave-overlay")
	t.Setenv("PATH", dir)
	if _, err := local.FindBinary(""); !errors.Is(err, local.ErrNoBinary) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("FindBinary without the program = %v, want ErrNoBinary with the remedy", err)
	}
	if _, err := local.FindBinary(bin); !errors.Is(err, local.ErrNoBinary) || !strings.Contains(err.Error(), bin) {
		t.Errorf("FindBinary of a missing file = %v, want ErrNoBinary with its name", err)
	}
	if err := os.WriteFile(bin, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, explicit := range []string{"", bin} {
		if got, err := local.FindBinary(explicit); err != nil || got != bin {
			t.Errorf("FindBinary(%q) = %q, %v, want %q", explicit, got, err, bin)
		}
	}
}
