package shard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

var payload = bytes.Repeat([]byte("p"), payloadSize)

func key(n, sessions int) string { return "user-" + strconv.Itoa(n%sessions) }

// population are sessions that are paused, so that signals wait there and nobody is asked for a place.
func population(n int) []api.Session {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	out := make([]api.Session, n)
	for i := range out {
		out[i] = api.Session{ID: api.NewSessionID(at, shard, entropy(uint64(i))), Org: api.DefaultOrg, Agent: agent, AgentName: "bench", Key: key(i, n),
			Intent: api.IntentPaused, Phase: api.PhaseDormant, CreatedAt: at}
	}
	return out
}

func entropy(n uint64) (e [10]byte) {
	binary.BigEndian.PutUint64(e[2:], n)
	return e
}

// driver gives signals to a core, and the archive's answers.
type driver struct {
	ctx      context.Context
	core     *hub.Core
	sessions int
	n        int
	refused  error
	archived []hub.CoreEvent // for the next turn
}

func newDriver(ctx context.Context, shards hub.ShardStore, sessions int) (*driver, error) {
	d := &driver{ctx: ctx, sessions: sessions}
	d.core = hub.NewCore(shard, hub.CorePorts{Shards: shards, Archive: empty{}, Log: empty{}, Out: d, Pause: func(context.Context, time.Duration) error { return nil },
		Logger: slog.New(slog.DiscardHandler)}, hub.Limits{PendingPerSession: 1 << 40, PendingPerOrg: 1 << 40}, func() time.Time { return time.Now().UTC() })
	return d, d.core.Load(ctx)
}

// turn is one turn of the loop.
func (d *driver) turn() error {
	events := d.archived
	d.archived = nil
	now := time.Now()
	for range turn {
		d.n++
		e := entropy(uint64(d.n))
		events = append(events, hub.CoreSignal(
			hub.SignalRequest{Org: api.DefaultOrg, Agent: "bench", Key: key(d.n, d.sessions), Payload: payload, IdempotencyKey: fmt.Sprintf("order-%016d", d.n), Sender: "bench"},
			agent, api.NewSessionID(now, shard, e), api.SignalID(api.NewULID(now, e)),
			func(_ api.Accepted, err error) { d.refused = errors.Join(d.refused, err) }))
	}
	return errors.Join(d.core.Turn(d.ctx, events...), d.refused)
}

// Submit implements [hub.CoreOut]: the archive has it by the next turn.
func (d *driver) Submit(_ context.Context, _ api.Shard, appends []hub.Append) error {
	d.archived = append(d.archived, hub.CoreArchived(appends))
	return nil
}

// Ask implements [hub.CoreOut].
func (d *driver) Ask(hub.PlaceRequest) {}

// Send implements [hub.CoreOut].
func (d *driver) Send(api.ClusterID, api.HubMessage) {}

// Cut implements [hub.CoreOut].
func (d *driver) Cut(api.ClusterID, error) {}

// Collect implements [hub.CoreOut].
func (d *driver) Collect(api.OrgID, api.SessionID, []api.CheckpointID) {}

// empty is an archive in which nothing is found.
type empty struct{ hub.Archive }

func (empty) Raise(context.Context, api.Shard, api.Generation) error { return nil }
func (empty) Positions(context.Context, api.Shard) (map[api.SessionID]hub.LogPosition, error) {
	return nil, nil
}
func (empty) Settled(context.Context, []api.SignalID) (map[api.SignalID]bool, error) { return nil, nil }
func (empty) Keys(context.Context, api.OrgID, []hub.KeyScope) (map[hub.KeyScope]hub.SettledSignal, error) {
	return nil, nil
}
func (empty) Events(context.Context, api.OrgID, api.SessionID, uint64, int) ([]api.Event, error) {
	return nil, nil
}

// nowhere keeps the head alone.
type nowhere struct {
	sessions []api.Session
	head     api.Head
}

func (s *nowhere) Claim(context.Context, api.Shard) (api.Head, error) {
	s.head.Generation = api.Generation{Incarnation: 1, N: s.head.Generation.N + 1}
	return s.head, nil
}
func (s *nowhere) Load(context.Context, api.Shard) (hub.ShardContents, error) {
	return hub.ShardContents{Sessions: s.sessions}, nil
}
func (s *nowhere) Commit(_ context.Context, batches []hub.Batch) error {
	for _, b := range batches {
		if b.From != s.head {
			return api.Errorf(api.CodeConflict, "the head is another one")
		}
		s.head = b.Next()
	}
	return nil
}
func (s *nowhere) Limits() hub.CommitLimits {
	return hub.CommitLimits{Ops: 10_000, Bytes: 8 << 20}
}
func (s *nowhere) Head(context.Context, api.Shard) (api.Head, error) { return s.head, nil }

// populated has sessions that the store does not.
type populated struct {
	hub.ShardStore
	sessions []api.Session
}

func (p populated) Load(context.Context, api.Shard) (hub.ShardContents, error) {
	return hub.ShardContents{Sessions: p.sessions}, nil
}

// noCodec is of a store without definitions.
type noCodec struct{}

func (noCodec) EncodeSpec(api.Spec) ([]byte, error) { return nil, errors.New("no definitions") }
func (noCodec) DecodeSpec(api.Kind, []byte) (api.Spec, error) {
	return nil, errors.New("no definitions")
}

// kept is the floor of the shard alone.
type kept struct {
	sessions int
	n        int
	of       map[string]*inbox
	keys     map[[32]byte]int // where a key was used
}

type inbox struct{ signals []item }

type item struct {
	hash    [32]byte
	payload []byte
}

func newKept(sessions int) *kept {
	k := &kept{sessions: sessions, of: make(map[string]*inbox, sessions), keys: map[[32]byte]int{}}
	for i := range sessions {
		k.of[key(i, sessions)] = &inbox{}
	}
	return k
}

func (k *kept) turn() error {
	for range turn {
		k.n++
		s := k.of[key(k.n, k.sessions)]
		k.keys[sha256.Sum256(fmt.Appendf(nil, "order-%016d", k.n))] = k.n
		s.signals = append(s.signals, item{sha256.Sum256(payload), payload})
	}
	return nil
}

// putter is the floor of the shard with its store.
type putter struct {
	ctx    context.Context
	client *clientv3.Client
	n      int
	head   string
}

func (p *putter) turn() error {
	const key = "floor/head"
	cmp := clientv3.Compare(clientv3.Value(key), "=", p.head)
	if p.head == "" {
		cmp = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	ops := make([]clientv3.Op, 0, turn+1)
	for range turn {
		p.n++
		ops = append(ops, clientv3.OpPut("floor/signals/"+strconv.Itoa(p.n), string(payload)))
	}
	p.head = strconv.Itoa(p.n)
	res, err := p.client.Txn(p.ctx).If(cmp).Then(append(ops, clientv3.OpPut(key, p.head))...).Commit()
	if err == nil && !res.Succeeded {
		err = errors.New("the head is another one")
	}
	return err
}
