package floor

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPlanPrints(t *testing.T) {
	p := Plan{Lines: 20, Rate: 2000, Burst: 4, Begin: time.Now().Add(20 * time.Millisecond).UnixNano(), Bytes: 160}
	flushed, waited := 0, 0
	var got []Moment
	err := p.Print(t.Context(), func(m Moment) error {
		if early := time.Until(time.Unix(0, m.Due)); early > 0 {
			t.Errorf("line %d is %v early", m.N, early)
		}
		line := string(p.Line(nil, m))
		read, err := ParseLine(line)
		if err != nil || read != m || len(line) != p.Bytes {
			t.Errorf("%+v is printed as %q and read as %+v, %v", m, line, read, err)
		}
		if m.Late != Unknown {
			waited++
		}
		got = append(got, m)
		return nil
	}, func() error { flushed++; return nil })
	if err != nil || len(got) != p.Lines {
		t.Fatalf("%d lines, %v", len(got), err)
	}
	for i, m := range got {
		if want := p.Begin + int64(i/4)*int64(2*time.Millisecond); m.N != i || m.Due != want {
			t.Errorf("line %d is %+v, want due %d", i, m, want)
		}
	}
	if waited == 0 || waited > 5 || flushed != waited+1 { // before each wait, and at the end
		t.Errorf("%d of 5 bursts were waited for, %d flushes", waited, flushed)
	}
	for _, text := range []string{"", "line", "line 1 2", "line x 2 3 x", "line 1 x 3 x", "line 1 2 x x", "word 1 2 3 x"} {
		if m, err := ParseLine(text); err == nil {
			t.Errorf("%q is read as %+v", text, m)
		}
	}
}

func TestPlanEndsWithItsContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := Plan{Lines: 2, Rate: 0.001, Begin: time.Now().UnixNano()}.Print(ctx, func(Moment) error { cancel(gone); return nil }, func() error { return nil })
	if !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
}
