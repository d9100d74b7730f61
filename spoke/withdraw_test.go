package spoke_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/spoketest"
)

// A start that waits for a worker is withdrawn when its session is to stop meanwhile: it is never asked of the runtime and
// counts as nothing.
func TestWaitingStartIsWithdrawn(t *testing.T) {
	now := time.Hour
	c, err := spoke.NewCore(spoke.Config{Runtime: &spoketest.Runtime{}, Journal: &spoketest.Journal{}, Link: &spoketest.Link{}, Door: &spoketest.Door{},
		Log: slog.New(slog.DiscardHandler), Boot: "boot", Fingerprint: "here", Clock: func() time.Duration { return now }})
	if err != nil {
		t.Fatal(err)
	}
	var starts []spoke.Call
	round := func() {
		for range 4 {
			now += time.Second
			calls, err := c.Round()
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range calls {
				if call.List > 0 {
					c.Take(spoke.Listed(call, nil, nil, api.Capacity{Flavors: []api.FlavorCapacity{{Flavor: api.DefaultFlavor, Total: 8}}}, nil))
				} else if call.Start != nil {
					starts = append(starts, call)
				}
			}
		}
	}
	var sessions []api.Desired
	for i := range byte(6) {
		sessions = append(sessions, desired(api.NewSessionID(time.Unix(1, 0), 7, [10]byte{0, i}), epoch1, 1))
	}
	c.Take(spoke.Connected(api.Welcome{Protocol: 1}, nil), spoke.Renewed(now, nil),
		spoke.Received(api.HubMessage{Updates: []api.ShardUpdate{{Position: position(1), Sessions: sessions}}}, nil))
	round()
	if len(starts) != 4 {
		t.Fatalf("%d starts are asked for, want 4: that many workers there are", len(starts))
	}
	c.Take(spoke.Received(api.HubMessage{Updates: []api.ShardUpdate{{Position: position(2), Sessions: []api.Desired{release(sessions[4].Session, epoch1)}}}}, nil))
	round()
	c.Take(spoke.Done(starts[0], nil), spoke.Done(starts[1], nil))
	round()
	if len(starts) != 5 || starts[4].Start.ID.Session != sessions[5].Session {
		t.Fatalf("%d starts are asked for, the last of %v: want 5, of the session that is still wanted", len(starts), starts[len(starts)-1].Start.ID)
	}
	for _, h := range c.Held() {
		if h.Session == sessions[4].Session && h.StartFailures != 0 {
			t.Errorf("held = %+v, want no failed start", h)
		}
	}
}
