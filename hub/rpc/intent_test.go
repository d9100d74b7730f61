package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub"
)

// both runs a test over each of the two listeners, each in a world of its own.
func both(t *testing.T, test func(t *testing.T, w *world, s navev1connect.SessionsClient, c navev1connect.ClustersClient)) {
	t.Run("net/http", func(t *testing.T) {
		w := newWorld(t, nil)
		s, c := w.clients(w.http.Client(), w.http.URL)
		test(t, w, s, c)
	})
	t.Run("grpc-go", func(t *testing.T) {
		w := newWorld(t, nil)
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		t.Cleanup(tr.CloseIdleConnections)
		s, c := w.clients(&http.Client{Transport: tr}, "http://"+w.grpc.Target(), connect.WithGRPC())
		test(t, w, s, c)
	})
}

func (w *world) clients(hc *http.Client, url string, opts ...connect.ClientOption) (navev1connect.SessionsClient, navev1connect.ClustersClient) {
	token := w.token(hub.RoleAdmin, time.Time{})
	opts = append(opts, connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, req)
		}
	})))
	return navev1connect.NewSessionsClient(hc, url, opts...), navev1connect.NewClustersClient(hc, url, opts...)
}

// codeOf is the code and the field that an error carries.
func codeOf(err error) string {
	var e *connect.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	for _, d := range e.Details() {
		if v, err := d.Value(); err == nil {
			if i, ok := v.(*errdetails.ErrorInfo); ok {
				return strings.TrimSpace(i.GetReason() + " " + i.GetMetadata()["field"])
			}
		}
	}
	return e.Error()
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestIntentsChangeASession(t *testing.T) {
	both(t, func(t *testing.T, w *world, s navev1connect.SessionsClient, _ navev1connect.ClustersClient) {
		ctx := t.Context()
		w.sessions.views = []hub.SessionView{{Pending: 3, Consumed: 1, Session: api.Session{ID: someULID, Org: api.DefaultOrg, AgentName: "a", Intent: api.IntentActive, Phase: api.PhaseLost,
			StartFailures: 2, Checkpoints: []api.CheckpointID{"old", "new"}, Assignment: &api.Assignment{Cluster: "01JDBZ0000000000000000000B", StopAfter: time.Minute}}}}
		id := &navev1.IntentRequest{SessionId: someULID, Note: "over budget"}

		dry, err := s.Pause(ctx, &navev1.IntentRequest{SessionId: someULID, DryRun: true})
		must(t, err)
		if !dry.GetChanged() || len(w.sessions.changes) != 0 || w.sessions.views[0].Intent != api.IntentActive {
			t.Errorf("a rehearsal answered %v and left %v", dry, w.sessions.views[0])
		}
		paused, err := s.Pause(ctx, id)
		must(t, err)
		want := &navev1.IntentResponse{Changed: true, EffectiveBy: timestamppb.New(fenceTime), Session: &navev1.Session{
			Organization: "default", Id: someULID, Agent: "a", Intent: "Paused", Phase: "Lost", Cluster: "01JDBZ0000000000000000000B", ClusterId: "01JDBZ0000000000000000000B",
			Pending: 3, Consumed: 1, Pauses: []string{"person"}, StartFailures: 2, Checkpoint: "new"}}
		equal(t, "pausing", want, paused)
		again, err := s.Pause(ctx, id)
		must(t, err)
		if again.GetChanged() {
			t.Error("pausing twice is a change")
		}
		resumed, err := s.Resume(ctx, id)
		must(t, err)
		if !resumed.GetChanged() || resumed.GetEffectiveBy() != nil || len(resumed.GetSession().GetPauses()) > 0 {
			t.Errorf("resuming: %v", resumed)
		}
		w.sessions.views[0].Assignment.StopAfter = api.StopNever
		ended, err := s.Terminate(ctx, id)
		must(t, err)
		if !ended.GetWaitsForCluster() || ended.GetEffectiveBy() != nil || ended.GetSession().GetIntent() != "Terminated" {
			t.Errorf("terminating what never stops: %v", ended)
		}
		var got []string
		for _, c := range w.sessions.changes {
			got = append(got, string(c.Change)+" "+c.Note+" "+fmt.Sprint(strings.HasPrefix(c.By, "test-admin")))
		}
		equal(t, "the changes", []string{"pause over budget true", "pause over budget true", "resume over budget true", "terminate over budget true"}, got)

		_, err = s.Pause(ctx, &navev1.IntentRequest{SessionId: "01JDBZ0000000000000000000C"})
		if c := codeOf(err); c != "not_found session_id" {
			t.Errorf("pausing what is not there: %s (%v)", c, err)
		}
	})
}

func TestATerminatedSessionIsReadFromHistory(t *testing.T) {
	both(t, func(t *testing.T, w *world, s navev1connect.SessionsClient, _ navev1connect.ClustersClient) {
		ctx := t.Context()
		w.history.ended = []api.Session{{ID: someULID, Org: api.DefaultOrg, AgentName: "a", Intent: api.IntentTerminated}}
		got, err := s.Get(ctx, &navev1.GetSessionRequest{Id: someULID})
		must(t, err)
		equal(t, "the session", &navev1.Session{Organization: "default", Id: someULID, Agent: "a", Intent: "Terminated"}, got)
		_, err = s.Get(ctx, &navev1.GetSessionRequest{Id: "01JDBZ0000000000000000000C"})
		if c := codeOf(err); !strings.HasPrefix(c, "not_found") {
			t.Errorf("a session that never was: %s", c)
		}
	})
}

func TestDeadLettersAreListedReadAndReplayed(t *testing.T) {
	both(t, func(t *testing.T, w *world, s navev1connect.SessionsClient, _ navev1connect.ClustersClient) {
		ctx := t.Context()
		for i := range 5 {
			w.history.dead = append(w.history.dead, hub.SettledSignal{
				Signal: api.Signal{ID: api.SignalID(fmt.Sprintf("01JDBZ000000000000000000%02d", i)), Session: someULID, Sequence: uint64(i), Payload: []byte("poem"), Deliveries: 3, Sender: "ann"},
				Scope:  hub.KeyScope{Agent: "01A", SessionKey: "k"}, AgentName: "writer", Reason: "the agent failed 3 times", SettledAt: fenceTime})
		}
		w.history.dead[1].Signal.Payload, w.history.dead[1].Signal.PayloadRef = nil, "large"
		w.history.large = map[string][]byte{"large": []byte("novel")}
		w.history.dead[2].ReplayedAs = "01JDBZ0000000000000000000R"

		var all []*navev1.DeadLetter
		req := &navev1.ListDeadLettersRequest{SessionId: someULID, PageSize: 2}
		for pages := 0; ; pages++ {
			res, err := s.ListDeadLetters(ctx, req)
			must(t, err)
			all = append(all, res.GetDeadLetters()...)
			if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
				break
			}
			if pages > 5 {
				t.Fatal("the pages have no end")
			}
		}
		if len(all) != 5 {
			t.Fatalf("%d of 5 are listed", len(all))
		}
		equal(t, "the third", &navev1.DeadLetter{SignalId: "01JDBZ00000000000000000002", SessionId: someULID, Agent: "writer", AgentId: "01A", Key: "k", Sequence: 2, Sender: "ann",
			SettledAt: timestamppb.New(fenceTime), Deliveries: 3, Reason: "the agent failed 3 times", ReplayedAs: "01JDBZ0000000000000000000R"}, all[2])
		_, err := s.ListDeadLetters(ctx, &navev1.ListDeadLettersRequest{PageSize: 2, PageToken: pageToken(t, s)})
		if c := codeOf(err); c != "invalid page_token" {
			t.Errorf("the token of another list: %s", c)
		}
		for i, want := range map[int]string{0: "poem", 1: "novel"} {
			got, err := s.GetDeadLetter(ctx, &navev1.GetDeadLetterRequest{SignalId: all[i].GetSignalId()})
			must(t, err)
			if string(got.GetPayload()) != want || got.GetPayloadBytes() != uint64(len(want)) {
				t.Errorf("%d has %q of %d bytes, want %q", i, got.GetPayload(), got.GetPayloadBytes(), want)
			}
		}
		for _, duplicate := range []bool{false, true} {
			res, err := s.Replay(ctx, &navev1.ReplayRequest{SignalId: someULID})
			must(t, err)
			equal(t, "the replay", &navev1.SignalResponse{SignalId: "01JDBZ0000000000000000000Z", SessionId: someULID, Sequence: 9, Duplicate: duplicate}, res)
		}
		if len(w.sessions.replays) != 1 || !strings.HasPrefix(w.sessions.replays[0], "test-admin") {
			t.Errorf("replayed by %q", w.sessions.replays)
		}
		_, err = s.Replay(ctx, &navev1.ReplayRequest{SignalId: "01JDBZ0000000000000000000C"})
		if c := codeOf(err); c != "not_found signal_id" {
			t.Errorf("replaying what is not there: %s", c)
		}
	})
}

// pageToken is a token of the list of one session's dead letters.
func pageToken(t *testing.T, s navev1connect.SessionsClient) string {
	t.Helper()
	res, err := s.ListDeadLetters(t.Context(), &navev1.ListDeadLettersRequest{SessionId: someULID, PageSize: 2})
	must(t, err)
	return res.GetNextPageToken()
}

func TestSideEventsAreReadByArrival(t *testing.T) {
	both(t, func(t *testing.T, w *world, s navev1connect.SessionsClient, _ navev1connect.ClustersClient) {
		ctx := t.Context()
		w.sessions.views = []hub.SessionView{{Session: api.Session{ID: someULID, Org: api.DefaultOrg}}}
		for i := range 5 {
			w.history.side = append(w.history.side, hub.SideEvent{ReceivedAt: fenceTime, Event: api.Event{Session: someULID, SourceNumber: uint64(i + 1), Type: api.EventMessage, Text: "late"}})
		}
		var got []uint64
		req := &navev1.ListSideEventsRequest{SessionId: someULID, PageSize: 2}
		for range 5 {
			res, err := s.ListSideEvents(ctx, req)
			must(t, err)
			for _, e := range res.GetEvents() {
				got = append(got, e.GetSourceNumber())
				if e.GetNumber() != 0 || !e.GetReceivedAt().AsTime().Equal(fenceTime) {
					t.Errorf("event %v", e)
				}
			}
			if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		equal(t, "the events", []uint64{1, 2, 3, 4, 5}, got)
		_, err := s.ListSideEvents(ctx, &navev1.ListSideEventsRequest{SessionId: "01JDBZ0000000000000000000C"})
		if c := codeOf(err); !strings.HasPrefix(c, "not_found") {
			t.Errorf("a session that is not there: %s", c)
		}
	})
}

func TestRejoinMakesATokenAndSaysHowLongItTakes(t *testing.T) {
	both(t, func(t *testing.T, w *world, _ navev1connect.SessionsClient, c navev1connect.ClustersClient) {
		ctx := t.Context()
		_, err := c.Register(ctx, &navev1.RegisterClusterRequest{Cluster: &navev1.Cluster{Meta: &navev1.Meta{Name: "east"}}})
		must(t, err)
		dry, err := c.Rejoin(ctx, &navev1.RejoinClusterRequest{Name: "east", DryRun: true})
		must(t, err)
		if dry.GetJoinToken() != "" || dry.GetExpiresAt() != nil || dry.GetWait().AsDuration() != 8*time.Second {
			t.Errorf("a rehearsal answered %v", dry)
		}
		res, err := c.Rejoin(ctx, &navev1.RejoinClusterRequest{Name: "east", TokenLifetime: durationpb.New(time.Hour)})
		must(t, err)
		if res.GetJoinToken() != "hush" || !res.GetExpiresAt().AsTime().Equal(fenceTime.Add(time.Hour)) || res.GetCluster().GetMeta().GetName() != "east" {
			t.Errorf("answered %v", res)
		}
		_, err = c.Rejoin(ctx, &navev1.RejoinClusterRequest{Name: "west"})
		if c := codeOf(err); c != "not_found name" {
			t.Errorf("a cluster that is not there: %s", c)
		}
	})
}
