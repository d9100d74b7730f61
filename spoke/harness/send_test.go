package harness

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// sentAt is a stream that keeps when which events were sent.
type sentAt struct {
	attachment
	began time.Time
	sent  []message
}

type message struct {
	At     time.Duration
	Events []string
}

func (s *sentAt) Send(m *harnessv1.FromHarness) error {
	if m.GetEvents() == nil {
		return nil
	}
	var types []string
	for _, e := range m.GetEvents().Events {
		types = append(types, e.Type)
	}
	s.sent = append(s.sent, message{time.Since(s.began), types})
	return nil
}

// A turn that is over soon is one message; what a longer one says goes within a few milliseconds, and after these at once.
func TestEventsOfAYoungTurnGoTogether(t *testing.T) {
	const started, line, ended, saved = string(api.EventTurn), string(api.EventMessage), string(api.EventTurnDone), string(api.EventSaved)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct {
		name  string
		line  time.Duration
		ended time.Duration
		want  []message
	}{
		{"it is over before", ms(2), ms(4), []message{{ms(4), []string{started, line, ended, saved}}}},
		{"it ends later", ms(2), ms(20), []message{{ms(6), []string{started, line}}, {ms(20), []string{ended, saved}}}},
		{"it speaks later", ms(9), ms(20), []message{{ms(6), []string{started}}, {ms(9), []string{line}}, {ms(20), []string{ended, saved}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				h := &Harness{out: newOutbox(100, 1<<20), deltas: newDeltas(), lease: newLease(func() time.Duration { return time.Since(began) }, time.Second, func() {})}
				s := &sentAt{began: began}
				g := run.NewGroup(t.Context())
				g.Go("send", func(ctx context.Context) error { return h.send(ctx, s, 0) })
				put := func(kind string) { h.out.put(t.Context(), &harnessv1.Event{Type: kind}) }
				h.out.working(true)
				put(started)
				synctest.Wait()
				time.Sleep(c.line)
				put(line)
				synctest.Wait()
				time.Sleep(c.ended - c.line)
				put(ended)
				put(saved)
				h.out.working(false)
				time.Sleep(time.Second)
				g.Stop()
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, s.sent); diff != "" {
					t.Errorf("-want +sent:\n%s", diff)
				}
			})
		})
	}
}
