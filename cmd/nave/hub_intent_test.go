package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

func (h *testHub) session(id string) *navev1.Session {
	for _, s := range h.sessions {
		if s.GetId() == id {
			return s
		}
	}
	return nil
}

func (s *sessions) Get(ctx context.Context, r *navev1.GetSessionRequest) (*navev1.Session, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err := s.h.enter(ctx, "Get"); err != nil {
		return nil, err
	}
	if x := s.h.session(r.GetId()); x != nil {
		return x, nil
	}
	return nil, refuse(api.CodeNotFound, "id", "there is no session %q", r.GetId())
}

// intent changes a session. A phase of Lost makes the change wait: for the cluster when the key is "forever", else a minute.
func (s *sessions) intent(ctx context.Context, method string, r *navev1.IntentRequest, change func(*navev1.Session) bool) (*navev1.IntentResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	x := s.h.session(r.GetSessionId())
	if x == nil {
		return nil, refuse(api.CodeNotFound, "session_id", "there is no session %q", r.GetSessionId())
	}
	now := proto.Clone(x).(*navev1.Session)
	res := &navev1.IntentResponse{Session: now, Changed: change(now)}
	if x.GetPhase() == "Lost" && method != "Resume" {
		if res.WaitsForCluster = x.GetKey() == "forever"; !res.WaitsForCluster {
			res.EffectiveBy = timestamppb.New(testNow.Add(time.Minute))
		}
	}
	if !r.GetDryRun() {
		s.h.sessions[slices.Index(s.h.sessions, x)] = now
		if res.GetChanged() {
			s.h.notes = append(s.h.notes, method+": "+r.GetNote())
		}
	}
	return res, s.h.enter(ctx, method)
}

func (s *sessions) Pause(ctx context.Context, r *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return s.intent(ctx, "Pause", r, func(x *navev1.Session) bool {
		if slices.Contains(x.GetPauses(), "person") {
			return false
		}
		x.Intent, x.Pauses = "Paused", append(x.GetPauses(), "person")
		return true
	})
}

func (s *sessions) Resume(ctx context.Context, r *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return s.intent(ctx, "Resume", r, func(x *navev1.Session) bool {
		before := len(x.GetPauses())
		x.Pauses = slices.DeleteFunc(x.GetPauses(), func(p string) bool { return p != "budget" })
		if len(x.GetPauses()) == 0 {
			x.Intent = "Active"
		}
		return len(x.GetPauses()) < before
	})
}

func (s *sessions) Terminate(ctx context.Context, r *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return s.intent(ctx, "Terminate", r, func(x *navev1.Session) bool {
		was := x.GetIntent()
		x.Intent, x.Pauses = "Terminated", nil
		return was != "Terminated"
	})
}

// ListDeadLetters answers one a page.
func (s *sessions) ListDeadLetters(ctx context.Context, r *navev1.ListDeadLettersRequest) (*navev1.ListDeadLettersResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	from, _ := strconv.Atoi(r.GetPageToken())
	res := &navev1.ListDeadLettersResponse{}
	for i, d := range s.h.dead {
		if i < from || r.GetAgent() != "" && r.GetAgent() != d.GetAgent() || r.GetSessionId() != "" && r.GetSessionId() != d.GetSessionId() {
			continue
		}
		d = proto.Clone(d).(*navev1.DeadLetter)
		d.Payload = nil
		res.DeadLetters, res.NextPageToken = append(res.DeadLetters, d), strconv.Itoa(i+1)
		break
	}
	return res, s.h.enter(ctx, "ListDeadLetters")
}

func (s *sessions) GetDeadLetter(ctx context.Context, r *navev1.GetDeadLetterRequest) (*navev1.DeadLetter, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for _, d := range s.h.dead {
		if d.GetSignalId() == r.GetSignalId() {
			return d, s.h.enter(ctx, "GetDeadLetter")
		}
	}
	return nil, refuse(api.CodeNotFound, "signal_id", "there is no dead letter %q", r.GetSignalId())
}

func (s *sessions) Replay(ctx context.Context, r *navev1.ReplayRequest) (*navev1.SignalResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for _, d := range s.h.dead {
		if d.GetSignalId() == r.GetSignalId() {
			res := &navev1.SignalResponse{SignalId: "01AGAIN", SessionId: d.GetSessionId(), Sequence: 9, Duplicate: d.GetReplayedAs() != ""}
			d.ReplayedAs = "01AGAIN"
			return res, s.h.enter(ctx, "Replay")
		}
	}
	return nil, refuse(api.CodeNotFound, "signal_id", "there is no dead letter %q", r.GetSignalId())
}

// ListSideEvents answers two a page.
func (s *sessions) ListSideEvents(ctx context.Context, r *navev1.ListSideEventsRequest) (*navev1.ListSideEventsResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	from, _ := strconv.Atoi(r.GetPageToken())
	to := min(from+2, len(s.h.side))
	res := &navev1.ListSideEventsResponse{Events: s.h.side[from:to]}
	if to < len(s.h.side) {
		res.NextPageToken = strconv.Itoa(to)
	}
	return res, s.h.enter(ctx, "ListSideEvents")
}

// Rejoin needs force for a cluster with the label "forever".
func (s *clusters) Rejoin(ctx context.Context, r *navev1.RejoinClusterRequest) (*navev1.RejoinClusterResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err := s.h.enter(ctx, "Rejoin"); err != nil {
		return nil, err
	}
	c := s.h.clusters[r.GetName()]
	switch {
	case c == nil:
		return nil, refuse(api.CodeNotFound, "name", "there is no cluster %q", r.GetName())
	case c.GetMeta().GetLabels()["forever"] != "" && r.GetForce() != r.GetName():
		return nil, refuse(api.CodeInUse, "force", "1 session with stop_after \"never\" may run at the former spoke: make sure that it does not, then repeat the cluster's name as force")
	}
	res := &navev1.RejoinClusterResponse{Cluster: c, Wait: durationpb.New(64 * time.Second)}
	if !r.GetDryRun() {
		res.JoinToken, res.ExpiresAt = "hush", timestamppb.New(testNow.Add(time.Hour))
	}
	return res, nil
}
