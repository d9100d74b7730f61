package keeper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const serveEnv = "NAVE_TEST_KEEPER"

// TestMain lets the test's own program be the keeper.
func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		if err := Serve(os.Stdin, os.Stdout, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func begin(t *testing.T) *Keeper {
	t.Helper()
	k, err := Start(os.Args[0], []string{serveEnv + "=1"}, filepath.Join(t.TempDir(), "keeper.log"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// label marks the processes of one test.
func label(t *testing.T) string { return "NAVE_KEEPER_TEST=" + t.Name() + fmt.Sprint(os.Getpid()) }

func shell(t *testing.T, k *Keeper, script string) *Process {
	t.Helper()
	p, err := k.Start(Spec{
		Name: "shell", Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", label(t)},
		Dir: t.TempDir(), Log: filepath.Join(t.TempDir(), "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// labelled counts the processes of this test.
func labelled(t *testing.T) int {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if env, _ := os.ReadFile(f); strings.Contains(string(env), label(t)) {
			n++
		}
	}
	return n
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("not in time: " + what)
		}
	}
}

func TestHowAProcessEnded(t *testing.T) {
	k := begin(t)
	if got, want := shell(t, k, "exit 3").How(), "exit status 3"; got != want {
		t.Errorf("the end of exit 3 is %q, want %q", got, want)
	}
	p := shell(t, k, "exec sleep 1000")
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if got, want := p.How(), "signal: killed"; got != want {
		t.Errorf("the end of what was killed is %q, want %q", got, want)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("a second Kill: %v", err)
	}
	if _, err := k.Start(Spec{Name: "nothing", Args: []string{"/no/such/program"}, Dir: "/", Log: os.DevNull}); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestOnlyItsOwnAreSignalled(t *testing.T) {
	k := begin(t)
	if _, err := k.ask(Request{Pid: os.Getpid(), Signal: syscall.SIGCONT}); err == nil {
		t.Error("the keeper signalled a process that it did not start")
	}
}

func TestWhatIsLeftToItEndsWithIt(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func(*Keeper)
	}{
		{"close", func(k *Keeper) {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}},
		{"terminated", func(k *Keeper) { _ = syscall.Kill(k.Pid(), syscall.SIGTERM) }},
	} {
		t.Run(end.name, func(t *testing.T) {
			k := begin(t)
			// Its child leaves two children, one of which ignores what can be ignored and is in a session of its own.
			p := shell(t, k, `sleep 1000 & setsid sh -c 'trap "" TERM HUP INT; while :; do sleep 1000; done' & exit 0`)
			<-p.Done()
			await(t, "the orphans run", func() bool { return labelled(t) >= 3 })
			end.end(k)
			await(t, "the orphans end", func() bool { return labelled(t) == 0 })
		})
	}
}

func TestTheEndOfTheKeeperIsTheEndOfItsProcesses(t *testing.T) {
	k := begin(t)
	p := shell(t, k, "exec sleep 1000")
	if err := syscall.Kill(k.Pid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	<-k.gone
	if _, err := k.Start(Spec{Name: "late", Args: []string{"/bin/true"}, Dir: "/", Log: os.DevNull}); err == nil {
		t.Error("a keeper that has ended started a process")
	}
}
