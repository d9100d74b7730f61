package rpc_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// SetIntent follows the contract of rpc.Intents: a cluster that is not heard makes the change wait for the fence.
func (m *memorySessions) SetIntent(ctx context.Context, r hub.IntentRequest) (hub.IntentAnswer, error) {
	if err := m.begin(ctx); err != nil {
		return hub.IntentAnswer{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.views, func(v hub.SessionView) bool { return v.ID == r.Session && v.Org == r.Org })
	if i < 0 {
		return hub.IntentAnswer{}, &api.Error{Code: api.CodeNotFound, Field: "id", Err: api.Errorf(api.CodeNotFound, "there is no session %s", r.Session)}
	}
	v := m.views[i]
	a := hub.IntentAnswer{Session: v}
	switch {
	case r.Change == hub.ChangePause && !v.Paused(api.PausePerson):
		a.Changed, a.Session.Intent = true, api.IntentPaused
		a.Session.Pauses = append(slices.Clone(v.Pauses), api.PausePerson)
	case r.Change == hub.ChangeResume && len(v.Pauses) > 0:
		a.Changed, a.Session.Pauses, a.Session.Intent = true, nil, api.IntentActive
	case r.Change == hub.ChangeTerminate:
		a.Changed, a.Session.Intent = true, api.IntentTerminated
	}
	if v.Phase == api.PhaseLost && r.Change != hub.ChangeResume {
		if v.Assignment.StopAfter < 0 {
			a.Waits = true
		} else {
			a.EffectiveBy = fenceTime
		}
	}
	if !r.DryRun {
		m.views[i] = a.Session
		m.changes = append(m.changes, r)
	}
	return a, nil
}

// Cancel follows the contract of rpc.Intents.
func (m *memorySessions) Cancel(ctx context.Context, r hub.CancelRequest) (hub.CancelAnswer, error) {
	v, err := m.Session(ctx, r.Org, r.Session)
	if err != nil {
		return hub.CancelAnswer{}, &api.Error{Code: api.CodeOf(err), Field: "id", Err: err}
	}
	if r.UpTo > v.LastSequence+1 {
		return hub.CancelAnswer{}, api.Invalid("up_to", "%d: the last signal is %d", r.UpTo, v.LastSequence)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !r.DryRun {
		m.cancels = append(m.cancels, r)
	}
	v.Cancelled.UpTo, v.Asking = r.UpTo, 2
	return hub.CancelAnswer{Session: v, Changed: true, UpTo: r.UpTo, Waits: true}, nil
}

// Live follows the contract of rpc.Sessions: the deltas come before the events.
func (m *memorySessions) Live(ctx context.Context, org api.OrgID, id api.SessionID, from uint64, limit uint32, send func([]api.Event) error, pour func(api.Delta) error) error {
	m.mu.Lock()
	deltas := m.deltas
	m.mu.Unlock()
	for _, d := range deltas {
		if err := pour(d); err != nil {
			return err
		}
	}
	return m.Events(ctx, org, id, from, true, limit, send)
}

// Approvals follows the contract of rpc.Approvals, as do Approval and Answer.
func (m *memorySessions) Approvals(_ context.Context, org api.OrgID, f hub.ApprovalFilter, size int, token string) (out []hub.ApprovalView, next string, _ error) {
	page, err := hub.NewPager(size, token, "approvals", string(org))
	if err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.approvals {
		if (f.Session == "" || v.Session == f.Session) && (f.Closed || v.State == api.ApprovalOpen) && string(v.ID) > page.After {
			if len(out) == size {
				return out, page.Token(string(out[size-1].ID)), nil
			}
			out = append(out, v)
		}
	}
	return out, "", nil
}

func (m *memorySessions) Approval(_ context.Context, org api.OrgID, id api.ApprovalID) (hub.ApprovalView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.approvals {
		if v.ID == id && v.Org == org {
			return v, nil
		}
	}
	return hub.ApprovalView{}, &api.Error{Code: api.CodeNotFound, Field: "id", Err: api.Errorf(api.CodeNotFound, "there is no approval %s", id)}
}

func (m *memorySessions) Answer(ctx context.Context, r hub.AnswerRequest) (hub.ApprovalView, error) {
	v, err := m.Approval(ctx, r.Org, r.Approval)
	switch {
	case err != nil:
		return v, err
	case r.Option != "" && !slices.ContainsFunc(v.Options, func(o api.ApprovalOption) bool { return o.ID == r.Option }):
		return v, api.Invalid("option", "%q is not offered", r.Option)
	case v.State != api.ApprovalOpen && (v.State == api.ApprovalApproved) != r.Approve:
		return v, &api.Error{Code: api.CodeConflict, Field: "id", Err: api.Errorf(api.CodeConflict, "%s answered already", v.By)}
	case v.State != api.ApprovalOpen:
		return v, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v.State, v.Option, v.By, v.Reason, v.AnsweredAt = api.ApprovalDenied, r.Option, r.By, r.Reason, fenceTime
	if r.Approve {
		v.State = api.ApprovalApproved
	}
	for i := range m.approvals {
		if m.approvals[i].ID == v.ID {
			m.approvals[i] = v
		}
	}
	return v, nil
}

var fenceTime = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func (m *memorySessions) Replay(ctx context.Context, _ api.OrgID, dead api.SignalID, by string) (api.Accepted, error) {
	if err := m.begin(ctx); err != nil {
		return api.Accepted{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if dead != someULID {
		return api.Accepted{}, api.Errorf(api.CodeNotFound, "there is no dead letter %s", dead)
	}
	duplicate := len(m.replays) > 0
	if !duplicate {
		m.replays = append(m.replays, by)
	}
	return api.Accepted{Signal: "01JDBZ0000000000000000000Z", Session: someULID, Sequence: 9, Duplicate: duplicate}, nil
}

// memoryHistory keeps what left the store, with the contracts of rpc.History and rpc.Payloads.
type memoryHistory struct {
	mu    sync.Mutex
	dead  []hub.SettledSignal // latest first
	side  []hub.SideEvent
	ended []api.Session
	large map[string][]byte
}

func (h *memoryHistory) Side(_ context.Context, _ api.OrgID, session api.SessionID, after uint64, limit int) (out []hub.SideEvent, at uint64, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at = after
	for i, e := range h.side {
		if uint64(i) >= after && e.Event.Session == session && len(out) < limit {
			out, at = append(out, e), uint64(i)+1
		}
	}
	return out, at, nil
}

func (h *memoryHistory) DeadLetters(_ context.Context, _ api.OrgID, f hub.DeadFilter, after string, limit int) (out []hub.SettledSignal, at string, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from, _ := strconv.Atoi(after)
	at = after
	for i, s := range h.dead {
		if i >= from && (f.Agent == "" || s.Scope.Agent == f.Agent) && (f.Session == "" || s.Signal.Session == f.Session) && len(out) < limit {
			s.Signal.Payload = nil
			out, at = append(out, s), strconv.Itoa(i+1)
		}
	}
	return out, at, nil
}

func (h *memoryHistory) DeadLetter(_ context.Context, _ api.OrgID, id api.SignalID) (hub.SettledSignal, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.dead {
		if s.Signal.ID == id {
			return s, nil
		}
	}
	return hub.SettledSignal{}, api.Errorf(api.CodeNotFound, "there is no dead letter %s", id)
}

func (h *memoryHistory) Terminated(_ context.Context, org api.OrgID, id api.SessionID) (api.Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.ended {
		if s.ID == id && s.Org == org {
			return s, nil
		}
	}
	return api.Session{}, api.Errorf(api.CodeNotFound, "there is no session %s", id)
}

func (h *memoryHistory) Fetch(_ context.Context, key string) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, ok := h.large[key]; ok {
		return p, nil
	}
	return nil, api.Errorf(api.CodeNotFound, "there is no object %s", key)
}

// memoryRejoin follows the contract of rpc.Rejoiner: it needs force where an agent's stop_after is "never".
type memoryRejoin struct {
	w     *world
	never bool
	calls []string
}

func (r *memoryRejoin) Rejoin(ctx context.Context, org api.OrgID, name string, lifetime time.Duration, force string, dryRun bool) (api.Cluster, hub.JoinSecret, time.Duration, error) {
	c, err := r.w.fleet.Cluster(ctx, org, name)
	if err != nil {
		return c, hub.JoinSecret{}, 0, err
	}
	if r.never && force == "" {
		return c, hub.JoinSecret{}, 0, &api.Error{Code: api.CodeInUse, Field: "force", Err: api.Errorf(api.CodeInUse, "1 session runs on until the cluster is heard: repeat the name to force it")}
	}
	if dryRun {
		return c, hub.JoinSecret{}, 8 * time.Second, nil
	}
	r.calls = append(r.calls, name)
	return c, hub.JoinSecret{Secret: "hush", ExpiresAt: fenceTime.Add(lifetime)}, 8 * time.Second, nil
}
