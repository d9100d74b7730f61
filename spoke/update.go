package spoke

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nave-dev/nave/api"
)

// stale reports that an update comes from before what was seen of its shard.
func (st *state) stale(p api.Position) bool {
	head, known := st.positions[p.Shard]
	return known && p.Head.Compare(head) < 0
}

// replaced reports that a position names a generation before the one that was seen of its shard: its owner was replaced. An
// owner of a version that names none is believed.
func (st *state) replaced(shard api.Shard, g api.Generation) bool {
	return g != api.Generation{} && g.Compare(st.positions[shard].Generation) < 0
}

// update returns the changes that a shard's update makes that is not stale. What a full update does not list stays, unless
// it was refused, or has lapsed and left nothing: only a release stops.
func (st *state) update(u api.ShardUpdate, labels map[string]string) ([]record, error) {
	var out []record
	head, known := st.positions[u.Position.Shard]
	if !known || u.Position.Head != head {
		out = append(out, positionRecord{u.Position})
	}
	seen := map[api.SessionID]bool{}
	for _, d := range u.Sessions {
		if shard, err := d.Session.Shard(); err != nil || shard != u.Position.Shard {
			return nil, api.Errorf(api.CodeInvalid, "update of shard %d names session %q, which is not of it", u.Position.Shard, d.Session)
		}
		if seen[d.Session] {
			return nil, api.Errorf(api.CodeInvalid, "update of shard %d names session %s twice", u.Position.Shard, d.Session)
		}
		seen[d.Session] = true
		rs, err := st.wanted(d, labels)
		if err != nil {
			return nil, err
		}
		out = append(out, rs...)
	}
	if u.Full {
		for _, id := range sortedKeys(st.sessions) { // nothing of them runs, and their hub has placed them elsewhere
			s := st.sessions[id]
			if shard, _ := id.Shard(); shard == u.Position.Shard && !seen[id] && s.Next == nil && (s.Verdict == refused || s.Lapsed && !s.live()) {
				out = append(out, forgottenRecord{id, s.Epoch})
			}
		}
	}
	return out, nil
}

// wanted returns the changes that one session of an update makes.
func (st *state) wanted(d api.Desired, labels map[string]string) ([]record, error) {
	s := st.sessions[d.Session]
	if s == nil || s.Epoch.Compare(d.Epoch) < 0 && (s.Next == nil || s.Next.Desired.Epoch.Compare(d.Epoch) < 0) {
		w := wantedRecord{Desired: d}
		w.Desired.Cancelled, w.Desired.Answers = api.Cancellation{}, nil // see [said]
		if d.Release {
			w.Desired.Revision, w.Desired.Signals = nil, nil
		}
		if w.Desired.Revision != nil {
			rev := *d.Revision
			if rev.Agent == nil || rev.Environment == nil {
				return nil, api.Errorf(api.CodeInvalid, "revision of session %s has no agent or no environment", d.Session)
			}
			rev.Environment = rev.Environment.For(labels)
			raw, err := json.Marshal(&rev)
			if err != nil {
				return nil, fmt.Errorf("encode revision of session %s: %w", d.Session, err)
			}
			w.Desired.Revision, w.Raw = &rev, raw
		}
		return []record{w}, nil
	}
	switch {
	case s.Epoch == d.Epoch && d.Release && !s.Released:
		return []record{releasedRecord{d.Session, d.Epoch}}, nil
	case s.Epoch == d.Epoch && !d.Release && !s.Released && !s.Lapsed:
		return inboxChange(d, s.Inbox, &s.progress), nil
	case s.Next != nil && s.Next.Desired.Epoch == d.Epoch && d.Release && !s.Next.Desired.Release:
		return []record{releasedRecord{d.Session, d.Epoch}}, nil
	case s.Next != nil && s.Next.Desired.Epoch == d.Epoch && !d.Release && !s.Next.Desired.Release:
		return inboxChange(d, s.Next.Desired.Signals, &progress{}), nil
	}
	return nil, nil // of an epoch that is over, or released already
}

// inboxChange compares the unsettled signals with the ones that are kept. Deliveries only grow: a turn that failed here is
// counted before the hub has heard of it.
func inboxChange(d api.Desired, kept []api.Signal, p *progress) []record {
	r := inboxRecord{Session: d.Session, Epoch: d.Epoch}
	for _, sig := range d.Signals {
		i := slices.IndexFunc(kept, func(k api.Signal) bool { return k.Sequence == sig.Sequence })
		if i < 0 || kept[i].Deliveries < sig.Deliveries || p.Unlisted[sig.Sequence] {
			if i >= 0 {
				sig.Deliveries = max(sig.Deliveries, kept[i].Deliveries)
			}
			r.Put = append(r.Put, sig)
		}
	}
	for _, k := range kept {
		if !p.Unlisted[k.Sequence] && !p.Forgotten[k.Sequence] && !slices.ContainsFunc(d.Signals, func(sig api.Signal) bool { return sig.Sequence == k.Sequence }) {
			r.Drop = append(r.Drop, k.Sequence)
		}
	}
	if r.Put == nil && r.Drop == nil {
		return nil
	}
	return []record{r}
}
