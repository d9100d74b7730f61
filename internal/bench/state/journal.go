package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/journal"
	"github.com/nave-dev/nave/spoke/spoketest"
)

// spokeProcess is a real spoke.
type spokeProcess struct {
	*federation.Process
	metrics string
}

// ready waits until the journal is replayed and the hub has welcomed the spoke.
func (p *spokeProcess) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return federation.Await(ctx, "spoke ready", func() (bool, error) {
		res, err := http.Get("http://" + p.metrics + "/readyz")
		if err != nil {
			return false, err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return false, errors.New(res.Status)
		}
		return true, nil
	})
}

// fillJournal makes a spoke's journal that has n sessions, and returns its bytes. The spoke's own code writes it, in this
// process, with a hub that is made up: sessions that a real hub has placed would need as many agents to be running.
func fillJournal(ctx context.Context, dir string, n int) (int64, error) {
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	j, err := journal.Open(journal.Config{Dir: dir})
	if err != nil {
		return 0, err
	}
	link := &spoketest.Link{}
	s, err := spoke.New(spoke.Config{Runtime: &spoketest.Runtime{Room: 2 * n}, Journal: j, Link: link, Door: &spoketest.Door{}, Log: slog.New(slog.DiscardHandler),
		Boot: "fill", Fingerprint: "here"})
	if err != nil {
		return 0, errors.Join(err, j.Close())
	}
	g := run.NewGroup(ctx)
	g.Go("spoke", s.Run)
	fill := func() error {
		wait, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		err := federation.Await(wait, "link of the made-up hub", func() (bool, error) {
			_, err := link.Connect(wait, api.Welcome{Protocol: 1, Cluster: "cluster", Beat: time.Second})
			return err == nil, err
		})
		if err != nil {
			return err
		}
		held := map[api.SessionID]bool{}
		for shard := range api.Shards {
			u := api.ShardUpdate{Position: api.Position{Shard: api.Shard(shard), Head: api.Head{Generation: api.Generation{Incarnation: 1, N: 1}}}}
			for at := shard; at < n; at += api.Shards {
				u.Sessions = append(u.Sessions, wanted(at))
			}
			if err := link.Deliver(wait, api.HubMessage{Updates: []api.ShardUpdate{u}}); err != nil {
				return err
			}
		}
		return federation.Await(wait, "verdicts", func() (bool, error) {
			for _, m := range link.Sent() {
				for _, h := range m.Held {
					if held[h.Session] = true; h.State == api.HeldRefused {
						return false, fmt.Errorf("refused: %s", h.Reason)
					}
				}
			}
			if len(held) < n {
				return false, fmt.Errorf("%d of %d", len(held), n)
			}
			return true, nil
		})
	}
	err = fill()
	g.Stop()
	err = errors.Join(err, g.Wait())
	size := j.Size()
	return size, errors.Join(err, j.Close())
}

// wanted is a session as a hub assigns it. It has nothing to do, so that no attempt begins.
func wanted(n int) api.Desired {
	entropy := [10]byte{byte(n >> 16), byte(n >> 8), byte(n)}
	return api.Desired{Session: api.NewSessionID(time.Unix(1764000000, 0), api.Shard(n%api.Shards), entropy), Org: api.DefaultOrg, Key: fmt.Sprintf("s%d", n), Epoch: api.Epoch{Incarnation: 1, N: 1},
		Revision: &api.ResolvedRevision{AgentID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", AgentName: agentName, AgentRevision: 1, EnvironmentRevision: 1,
			Agent: &api.AgentSpec{Environment: "local", Harness: api.HarnessSpec{Protocol: api.ProtocolCommand, Command: []string{"/bin/true"}}, IdleTimeout: time.Hour,
				TurnLimit: time.Hour, StopAfter: time.Minute, MaxDeliveries: 3},
			Environment: &api.EnvironmentSpec{Flavor: api.DefaultFlavor}}}
}
