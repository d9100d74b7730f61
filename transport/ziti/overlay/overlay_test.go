package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLogNeverExceedsItsBound(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	const bound = 1000
	if err := os.WriteFile(path, make([]byte, 900), 0o600); err != nil { // of a former process
		t.Fatal(err)
	}
	l, err := openLog(path, bound)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for i := range 500 {
		last = fmt.Sprintf("line %d\n", i)
		if n, err := l.Write([]byte(last)); err != nil || n != len(last) {
			t.Fatalf("Write = %d, %v", n, err)
		}
		for _, name := range []string{path, path + ".1"} {
			if st, err := os.Stat(name); err == nil && st.Size() > bound {
				t.Fatalf("%s has %d bytes after line %d, want at most %d", name, st.Size(), i, bound)
			}
		}
	}
	if _, err := l.Write([]byte(strings.Repeat("x", 3*bound))); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > bound {
		t.Errorf("after a line over the bound: %v, %v", st.Size(), err)
	}
	b, err := os.ReadFile(path + ".1")
	if err != nil || !strings.HasSuffix(string(b), last) {
		t.Errorf("the older file does not end with the last line before: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the log left %d files, want 2", len(entries))
	}
}

func TestStrayOutputIsCapped(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, want := range []int64{100, 0} { // at its bound, over it
		if _, err := f.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		capFile(f, 100)
		if st, err := f.Stat(); err != nil || st.Size() != want {
			t.Fatalf("size %d, %v, want %d", st.Size(), err, want)
		}
	}
}

func TestLeaseIsWatched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.lock")
	if held(path) {
		t.Fatal("a lease that does not exist is held")
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if held(path) {
		t.Fatal("a lease that nobody took is held")
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	const grace = 50 * time.Millisecond
	polls := 0
	err = watchLease(t.Context(), path, grace, func() {
		if polls++; polls == 4 { // four graces long it was held
			if err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN); err != nil {
				t.Error(err)
			}
		}
	})
	if !errors.Is(err, errNoParent) || polls != 4 {
		t.Errorf("watchLease = %v after %d polls, want errNoParent after 4", err, polls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := watchLease(ctx, path, time.Hour, func() {}); err != nil {
		t.Errorf("watchLease with an ended context = %v, want nil", err)
	}
}

func TestSignsOfLifeDiffer(t *testing.T) {
	s := &signs{path: filepath.Join(t.TempDir(), "alive")}
	last := ""
	for range 3 {
		if err := s.give(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(s.path)
		if err != nil || string(b) == last {
			t.Fatalf("sign %q after %q, %v", b, last, err)
		}
		last = string(b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := s.run(ctx, func(context.Context) bool { return false }); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(s.path); err != nil || string(b) != last {
		t.Errorf("a server that is not in order gave the sign %q, %v", b, err)
	}
}

func TestRunLockIsTakenOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.lock")
	f, err := runLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != fmt.Sprint(os.Getpid()) {
		t.Errorf("the lock names %q, %v, want %d", b, err, os.Getpid())
	}
	if _, err := runLock(path); err == nil {
		t.Error("the lock was taken twice")
	}
	f.Close()
	if f, err = runLock(path); err != nil {
		t.Errorf("the lock is not free after its holder's end: %v", err)
	} else {
		f.Close()
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Name: "r1", Home: "/h", Lease: "/l", GraceMS: 1, Address: "127.0.0.1", Port: 1, LogBytes: 1}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // in the error; empty: accepted
	}{
		{"good", func(*Config) {}, ""},
		{"no name", func(c *Config) { c.Name = "" }, "name"},
		{"relative home", func(c *Config) { c.Home = "h" }, "home"},
		{"relative lease", func(c *Config) { c.Lease = "l" }, "lease"},
		{"every address", func(c *Config) { c.Address = "0.0.0.0" }, "address"},
		{"host name", func(c *Config) { c.Address = "localhost" }, "address"},
		{"no port", func(c *Config) { c.Port = 0 }, "port"},
		{"no grace", func(c *Config) { c.GraceMS = 0 }, "graceMs"},
		{"no log", func(c *Config) { c.LogBytes = 0 }, "logBytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := good
			tc.change(&c)
			b, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := loadConfig(file)
			if tc.want == "" {
				if err != nil || got.LogLevel != "warn" {
					t.Errorf("loadConfig = %+v, %v, want it accepted with level warn", got, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("loadConfig = %v, want an error that names %s", err, tc.want)
			}
		})
	}
}
