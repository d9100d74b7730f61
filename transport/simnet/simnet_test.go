package simnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/simnet"
)

// pair connects a to b and returns both ends.
func pair(t *testing.T, n *simnet.Network) (dialer, host net.Conn) {
	t.Helper()
	dialer, host, _ = connect(t, n)
	return dialer, host
}

func connect(t *testing.T, n *simnet.Network) (dialer, host net.Conn, l net.Listener) {
	t.Helper()
	l, err := n.Listen("b")
	if err != nil {
		t.Fatal(err)
	}
	dialer, err = n.Dial(t.Context(), "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if host, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); dialer.Close(); host.Close() })
	return dialer, host, l
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := io.WriteString(c, s); err != nil || n != len(s) {
		t.Fatalf("write %q: %d, %v", s, n, err)
	}
}

// want reads exactly s and returns how long that took.
func want(t *testing.T, c net.Conn, s string) time.Duration {
	t.Helper()
	began, b := time.Now(), make([]byte, len(s))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != s {
		t.Fatalf("read %q, %v, want %q", b, err, s)
	}
	return time.Since(began)
}

func TestDelayIsKeptAndOrderToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		n.SetAll(simnet.Path{Delay: 100 * time.Millisecond, Jitter: 50 * time.Millisecond})
		began := time.Now()
		a, b := pair(t, n)
		if took := time.Since(began); took < 200*time.Millisecond || took > 300*time.Millisecond {
			t.Errorf("the dial took %v, want a way there and back", took)
		}
		all := ""
		for i := range 100 {
			s := fmt.Sprintf("%d ", i)
			write(t, a, s)
			all += s
		}
		if took := want(t, b, all); took < 100*time.Millisecond || took > 150*time.Millisecond {
			t.Errorf("100 writes arrived after %v", took)
		}
		write(t, b, "back")
		want(t, a, "back")
	})
}

func TestCutHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		a, b := pair(t, n)
		n.Cut("a", "b")
		write(t, a, "late")
		write(t, b, "at once") // the other direction is open
		want(t, a, "at once")
		_ = b.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read over a cut: %v", err)
		}
		_ = b.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Minute, func() { n.Heal("a", "b") })
		if took := want(t, b, "late"); took != time.Minute {
			t.Errorf("healed after 1m, arrived after %v", took)
		}
		n.CutBoth("a", "b")
		a.Close()
		_ = b.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the end came over a cut: %v", err)
		}
		write(t, b, "into nothing")
		n.HealBoth("a", "b")
		_ = b.SetReadDeadline(time.Time{})
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the healing: %v, want the end", err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to an end that is closed: %v", err)
		}
	})
}

func TestDialsOverACutWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		if _, err := n.Dial(t.Context(), "a", "b"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		l, err := n.Listen("b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen("b"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a second listener: %v", err)
		}
		for _, way := range [][2]string{{"a", "b"}, {"b", "a"}} {
			n.Cut(way[0], way[1])
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if _, err := n.Dial(ctx, "a", "b"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("dial over a cut from %s: %v", way[0], err)
			}
			cancel()
			n.Heal(way[0], way[1])
		}
		l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after the close: %v", err)
		}
		if _, err := n.Dial(t.Context(), "a", "b"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after the close: %v", err)
		}
		if l, err = n.Listen("b"); err != nil {
			t.Errorf("listen again: %v", err)
		}
		l.Close()
	})
}

func TestSlowReaderHoldsTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, simnet.New(1))
		_ = a.SetWriteDeadline(time.Now().Add(time.Hour))
		n, err := a.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n != 64<<10 {
			t.Fatalf("%d bytes were taken, %v", n, err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		g := run.NewGroup(t.Context())
		g.Go("write", func(context.Context) error {
			_, err := a.Write(make([]byte, 1<<20))
			a.Close()
			return err
		})
		got, err := io.Copy(io.Discard, b)
		if err != nil || got != 1<<20+64<<10 {
			t.Errorf("%d bytes came, %v", got, err)
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestBreakEndsBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		a, b := pair(t, n)
		if got := n.Open("b", "a"); got != 1 {
			t.Errorf("%d connections are open", got)
		}
		if got := n.Break("a", "b"); got != 1 {
			t.Errorf("%d connections broke", got)
		}
		for _, c := range []net.Conn{a, b} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v", err)
			}
			if _, err := c.Write(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("write: %v", err)
			}
		}
		if got := n.Open("a", "b"); got != 0 {
			t.Errorf("%d connections are open", got)
		}
	})
}

// lives returns how long connections live, by a seed.
func lives(t *testing.T, seed uint64) (lives []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(seed)
		n.SetAll(simnet.Path{Life: time.Hour, Delay: time.Millisecond, Jitter: time.Second})
		for range 20 {
			a, b, l := connect(t, n)
			began := time.Now()
			_, _ = b.Read(make([]byte, 1))
			lives = append(lives, time.Since(began))
			a.Close()
			b.Close()
			l.Close()
		}
	})
	return lives
}

func TestChanceIsTheSeeds(t *testing.T) {
	first, again, other := lives(t, 7), lives(t, 7), lives(t, 8)
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("the same seed (-first +again):\n%s", d)
	}
	if cmp.Equal(first, other) {
		t.Error("another seed changes nothing")
	}
	sum := time.Duration(0)
	for _, l := range first {
		sum += l
	}
	if mean := sum / time.Duration(len(first)); mean < 20*time.Minute || mean > 3*time.Hour {
		t.Errorf("connections live for %v on average, want about 1h", mean)
	}
}
