package measure

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

func TestFigure(t *testing.T) {
	tests := []struct {
		f       Figure
		ratio   float64
		reached bool
	}{
		{Figure{Value: 3, Floor: 2}, 1.5, true},
		{Figure{Value: 2, Floor: 3, More: true}, 1.5, true},
		{Figure{Value: 2}, 0, true},
		{Figure{Value: 2, Target: 1}, 0, false},
		{Figure{Value: 2, Target: 3}, 0, true},
		{Figure{Value: 2, Target: 3, More: true}, 0, false},
	}
	for _, tt := range tests {
		if r := tt.f.Ratio(); r != tt.ratio || tt.f.Reached() != tt.reached {
			t.Errorf("%+v: ratio %v, reached %v", tt.f, r, tt.f.Reached())
		}
	}
}

// A server that stands still for a second is seen by every call that was due meanwhile.
func TestOpenLoopCountsFromWhenACallWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := time.Now().Add(time.Second)
		r, err := openLoop(t.Context(), 10, 2*time.Second, byFakeClock, func(ctx context.Context, n int) error {
			time.Sleep(time.Until(free))
			return nil
		})
		if err != nil || len(r.Samples) != 20 {
			t.Fatalf("%d samples, %v", len(r.Samples), err)
		}
		if half, most := r.At(0.49), r.At(1); half != 0 || most != time.Second {
			t.Errorf("median %v, largest %v", half, most)
		}
	})
}

// byFakeClock waits as a bubble's clock goes, which a timer of the kernel does not.
func byFakeClock(due time.Time) error {
	time.Sleep(time.Until(due))
	return nil
}

// What is due is late when whoever paces is, and a latency has that in it.
func TestOpenLoopSaysHowLateCallsWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := openLoop(t.Context(), 10, time.Second, func(due time.Time) error {
			return byFakeClock(due.Add(7 * time.Millisecond))
		}, func(context.Context, int) error { time.Sleep(time.Millisecond); return nil })
		if err != nil || len(r.Late) != 10 {
			t.Fatalf("%d calls, %v", len(r.Late), err)
		}
		if least, most := r.Late.At(0), r.Late.At(1); least != 7*time.Millisecond || most != least || r.At(1) != 8*time.Millisecond {
			t.Errorf("late by %v to %v, latency %v", least, most, r.At(1))
		}
	})
}

// A latency that counts from when a call was due is worth nothing when calls come early. How late they come is a matter of the
// machine: the bound is one that only a pacer that does not wait for its moments, or for others, can pass.
func TestPacer(t *testing.T) {
	p, err := NewPacer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	begin := time.Now()
	for n := range 100 {
		due := begin.Add(time.Duration(n) * 300 * time.Microsecond)
		if err := p.Until(due); err != nil {
			t.Fatal(err)
		}
		if early := time.Until(due); early > 0 {
			t.Fatalf("%v early", early)
		}
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("30 ms took %v", took)
	}
}

func TestPacerEndsWithItsContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	g := run.NewGroup(t.Context())
	g.Go("loop", func(context.Context) error {
		_, err := OpenLoop(ctx, 0.01, 1000*time.Second, func(context.Context, int) error { // the second call is due in 100 s
			cancel(gone)
			return nil
		})
		ended <- err
		return nil
	})
	select {
	case err := <-ended:
		if !errors.Is(err, gone) {
			t.Errorf("error %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it still waits")
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// kept keeps what a test allocates from being left out.
var kept [][]byte

func TestCounts(t *testing.T) {
	srv := httptest.NewServer(pprof.Handler("heap"))
	defer srv.Close()
	address := srv.Listener.Addr().String()
	before, err := CountsOf(t.Context(), address, true)
	if err != nil {
		t.Fatal(err)
	}
	const objects, bytes = 1000, 10_000
	for range objects {
		kept = append(kept, make([]byte, bytes))
	}
	after, err := CountsOf(t.Context(), address, true)
	if err != nil {
		t.Fatal(err)
	}
	if n, b, l := after.Objects-before.Objects, after.Bytes-before.Bytes, after.Live-before.Live; n < objects || b < objects*bytes || l < objects*bytes || l > 2*objects*bytes {
		t.Errorf("%v objects, %v bytes, %v of them live", n, b, l)
	}
	kept = nil
	if after, err = CountsOf(t.Context(), address, true); err != nil || after.Live-before.Live > objects*bytes/2 {
		t.Errorf("%v bytes live after a collection, %v", after.Live-before.Live, err)
	}
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	if _, err := CountsOf(t.Context(), none.Listener.Addr().String(), false); err == nil {
		t.Error("a program without profiles has counts")
	}
}

// At is for tests.
func (r Result) At(q float64) time.Duration { return r.Samples.At(q) }

func TestLoopsCountFailures(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		r, err := openLoop(t.Context(), 100, time.Second, byFakeClock, func(_ context.Context, n int) error {
			if n%2 == 0 {
				return broken
			}
			return nil
		})
		if err != nil || r.Errors != 50 || len(r.Samples) != 50 || !errors.Is(r.Good(), broken) {
			t.Errorf("%d failed, %d good, %v, %v", r.Errors, len(r.Samples), err, r.Good())
		}
		r, err = ClosedLoop(t.Context(), 4, time.Second, func(_ context.Context, client, n int) error {
			time.Sleep(100 * time.Millisecond)
			if client == 0 {
				return broken
			}
			return nil
		})
		if err != nil || r.Errors != 10 || len(r.Samples) != 30 || r.Rate() != 30 {
			t.Errorf("%d failed, %d good, %v/s, %v", r.Errors, len(r.Samples), r.Rate(), err)
		}
	})
}

func TestOpenLoopFailsPastItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := openLoop(t.Context(), 10*maxOpen, time.Second, byFakeClock, func(ctx context.Context, n int) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if err == nil {
			t.Error("a server that never answers held the rate")
		}
	})
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 0.01234: "0.0123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 12345.6: "12,346", 1234567: "1,234,567"} {
		if got := Number(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
	if m := Median([]float64{3, 1, 2, 10}); m != 2.5 {
		t.Errorf("median %v", m)
	}
	if s := Slope([]float64{0, 100, 200}, []float64{5, 105, 205}); math.Abs(s-1) > 1e-9 {
		t.Errorf("slope %v", s)
	}
}

func TestThisProcess(t *testing.T) {
	m, err := MemoryOf(os.Getpid())
	if err != nil || m.Anonymous <= 0 || m.Anonymous > m.Resident {
		t.Errorf("memory %+v, %v", m, err)
	}
	if _, err := ProcessorTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := MemoryOf(1 << 30); err == nil {
		t.Error("a process that does not exist has memory")
	}
	facts, err := LookAtMachine(t.TempDir(), "r", 1)
	if err != nil || facts.Cores < 1 || facts.SyncMs <= 0 {
		t.Errorf("%+v, %v", facts, err)
	}
}
