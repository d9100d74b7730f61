package hub

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/nave-dev/nave/api"
)

// Granter tells who may do what with whom inside an organization.
type Granter interface {
	// Granted reports whether the organization has a grant that lets subject do with object what relation says.
	Granted(ctx context.Context, org api.OrgID, subject api.GrantParty, relation api.Relation, object api.GrantParty) (bool, error)
}

// senderPrefix begins the sender of a signal that a session sent; the name of its agent follows.
const senderPrefix = "agent:"

// Signal accepts a signal that a session sends to another one of its organization. source is the workload's. It returns when
// the signal is durable, or refused: CodeDenied when the session is not this cluster's in that epoch, or when no grant lets
// its agent send signals to the other; CodeLimit when it sends too fast, or when too many sessions led to the signal.
func (a *Attachment) Signal(ctx context.Context, session api.SessionID, source api.Source, s api.AgentSignal) (api.Accepted, error) {
	if a.ctx.Err() != nil {
		return api.Accepted{}, a.reason()
	}
	r := SignalRequest{Agent: s.Agent, Key: s.Key, Payload: s.Payload, IdempotencyKey: s.IdempotencyKey}
	if err := checkSignal(r); err != nil {
		return api.Accepted{}, err
	}
	shard, err := session.Shard()
	if err != nil {
		return api.Accepted{}, api.Invalid("session", "%v", err)
	}
	var from sender
	if err := a.h.queryShard(ctx, shard, func(m *machine) { from = m.sender(a.cluster, session, source.Epoch) }); err != nil {
		return api.Accepted{}, err
	}
	if from.org == "" {
		return api.Accepted{}, api.Errorf(api.CodeDenied, "session %s is not assigned to this cluster in epoch %s: its workload must end", session, source.Epoch)
	}
	if len(from.origin) > api.MaxOrigin {
		return api.Accepted{}, api.Errorf(api.CodeLimit, "%d sessions led to this signal already, the limit: end the chain here", api.MaxOrigin)
	}
	if !a.h.senders.allow(session) {
		l := a.h.cfg.Limits
		return api.Accepted{}, api.Errorf(api.CodeLimit, "session %s sends more than %d signals per second (%d at once): wait, then repeat", session, l.AgentSignals, l.AgentBurst)
	}
	if err := a.h.granted(ctx, from, s.Agent); err != nil {
		return api.Accepted{}, err
	}
	r.Org, r.Sender, r.Origin = from.org, senderPrefix+from.agent, from.origin
	return a.h.receive(ctx, r)
}

// sender is what a shard knows of a session that sends a signal. The zero one is not believed.
type sender struct {
	org    api.OrgID
	agent  string
	origin []api.Origin // of what it sends now, with itself at the end
}

// sender looks a session up that is assigned to a cluster in an epoch. What it sends continues the longest of the chains that
// led to what it works on: to its signals that no turn has consumed, or else to all that are unsettled.
func (m *machine) sender(cluster api.ClusterID, id api.SessionID, epoch api.Epoch) sender {
	s := m.sessions[id]
	if !s.at(cluster, epoch) || s.Intent == api.IntentTerminated {
		return sender{}
	}
	var of *api.Signal
	longest := func(all bool) {
		for _, sig := range s.pending {
			if (all || !s.consumed(sig)) && (of == nil || len(sig.Origin) > len(of.Origin)) {
				of = sig
			}
		}
	}
	if longest(false); of == nil {
		longest(true)
	}
	self := api.Origin{Session: s.ID, Agent: s.AgentName, Key: s.Key}
	var chain []api.Origin
	if of != nil {
		self.Signal, chain = of.ID, slices.Clone(of.Origin)
	}
	return sender{org: s.Org, agent: s.AgentName, origin: append(chain, self)}
}

// granted refuses what no grant allows.
func (h *Hub) granted(ctx context.Context, from sender, agent string) error {
	subject, object := api.GrantParty{Kind: api.KindAgent, Name: from.agent}, api.GrantParty{Kind: api.KindAgent, Name: agent}
	ok := false
	if h.cfg.Granter != nil {
		var err error
		if ok, err = h.cfg.Granter.Granted(ctx, from.org, subject, api.RelationSignal, object); err != nil {
			return err
		}
	}
	if !ok {
		return &api.Error{Code: api.CodeDenied, Field: "agent", Err: api.Errorf(api.CodeDenied, "agent %s may not signal agent %s: apply a Grant with subject %s, relation %s, object %s",
			from.agent, agent, from.agent, api.RelationSignal, agent)}
	}
	return nil
}

// maxSenders is how many sessions are told apart by what they send; those beyond share one account, so that memory is bounded.
const maxSenders = 10_000

// senders keeps the rate of each session that sends signals.
type senders struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex
	accounts map[api.SessionID]*rate.Limiter // guarded by mu
}

func newSenders(l Limits) *senders {
	return &senders{rate: rate.Limit(l.AgentSignals), burst: l.AgentBurst, accounts: map[api.SessionID]*rate.Limiter{}}
}

// allow takes one signal from a session's rate.
func (s *senders) allow(id api.SessionID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	l := s.accounts[id]
	if l == nil && len(s.accounts) >= maxSenders {
		for k, x := range s.accounts {
			if x.TokensAt(now) >= float64(s.burst) { // full: it is as good as new
				delete(s.accounts, k)
			}
		}
		if len(s.accounts) >= maxSenders {
			id = ""
			l = s.accounts[id]
		}
	}
	if l == nil {
		l = rate.NewLimiter(s.rate, s.burst)
		s.accounts[id] = l
	}
	return l.AllowN(now, 1)
}
