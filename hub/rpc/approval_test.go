package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// An approval goes over the wire whole, names its cluster, and is answered in the name of the caller.
func TestApprovalsOverTheWire(t *testing.T) {
	w := newWorld(t, nil)
	token := "Bearer " + w.token(hub.RoleOperator, time.Time{})
	c := w.post("/nave.v1.Clusters/Register", "Bearer "+w.token(hub.RoleAdmin, time.Time{}), `{"cluster": {"meta": {"name": "aws"}}}`)
	if c.Code != "" {
		t.Fatal(c)
	}
	clusters, err := w.store.Clusters(t.Context())
	must(t, err)
	at := fenceTime.Add(-time.Hour)
	one := api.Approval{ID: someApproval, Session: someULID, Org: api.DefaultOrg, Sequence: 3, Title: "rm", Detail: "rm -rf", AskedAt: at, HeldUntil: at.Add(time.Minute),
		ExpiresAt: at.Add(24 * time.Hour), State: api.ApprovalOpen, Options: []api.ApprovalOption{{ID: "y", Name: "Yes", Kind: api.OptionAllowOnce}, {ID: "n", Name: "No", Kind: api.OptionRejectOnce}}}
	two := one
	two.ID = someULID + "-bbbbbbbb"
	w.sessions.approvals = []hub.ApprovalView{{Approval: one, AgentName: "a", Key: "k", Cluster: clusters[0].ID}, {Approval: two, AgentName: "a", Key: "k"}}

	list := w.post("/nave.v1.Approvals/List", token, `{"page_size": 1}`)
	if got := list.Body["approvals"].([]any); len(got) != 1 || list.Body["nextPageToken"] == nil {
		t.Errorf("a page of one is %v", list)
	}
	m := list.Body["approvals"].([]any)[0].(map[string]any)
	for field, want := range map[string]string{"id": someApproval, "sessionId": someULID, "agent": "a", "key": "k", "cluster": "aws", "title": "rm", "detail": "rm -rf", "state": "Open",
		"sequence": "3", "heldUntil": "2030-01-02T02:05:05Z", "expiresAt": "2030-01-03T02:04:05Z", "organization": "default"} {
		if fmt.Sprint(m[field]) != want {
			t.Errorf("%s is %v, want %s", field, m[field], want)
		}
	}
	answered := w.post("/nave.v1.Approvals/Answer", token, `{"id": "`+someApproval+`", "option": "n", "reason": "no"}`)
	if answered.Body["state"] != "Denied" || answered.Body["reason"] != "no" || answered.Body["by"] == "" || answered.Body["answeredAt"] == nil {
		t.Errorf("answered: %v", answered)
	}
	if a := w.post("/nave.v1.Approvals/Answer", token, `{"id": "`+someApproval+`", "approve": true}`); a.Code != api.CodeConflict || a.Field != "id" {
		t.Errorf("another answer: %v", a)
	}
	w.sessions.views = []hub.SessionView{{Session: api.Session{ID: someULID, Org: api.DefaultOrg, LastSequence: 4}}}
	cancelled := w.post("/nave.v1.Sessions/Cancel", token, `{"session_id": "`+someULID+`", "up_to": 2, "note": "stop"}`)
	session, _ := cancelled.Body["session"].(map[string]any)
	if cancelled.Body["changed"] != true || cancelled.Body["upTo"] != "2" || cancelled.Body["waits"] != true || session["cancelledUpTo"] != "2" || session["openApprovals"] != float64(2) {
		t.Errorf("cancelled: %v", cancelled)
	}
	if got := w.sessions.cancels; len(got) != 1 || got[0].Note != "stop" || got[0].By == "" {
		t.Errorf("the hub was asked for %+v", got)
	}
}

// Deltas come over both protocols to who asked for them, and to nobody else.
func TestDeltasOverTheWire(t *testing.T) {
	w := newWorld(t, nil)
	w.sessions.views = []hub.SessionView{{Session: api.Session{ID: someULID, Org: api.DefaultOrg}}}
	w.sessions.events = []api.Event{{Session: someULID, Number: 1, Source: api.HubSource, SourceNumber: 1, Type: api.EventAccepted}}
	w.sessions.deltas = []api.Delta{{Session: someULID, Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}, Stream: "m1", Type: api.EventMessage, Offset: 7, Text: "hel\xff"}}
	token := "Bearer " + w.token(hub.RoleViewer, time.Time{})
	over := map[string]func(context.Context, *navev1.EventsRequest) ([]*navev1.Event, error){
		"HTTP": func(_ context.Context, req *navev1.EventsRequest) (out []*navev1.Event, _ error) {
			body, err := protojson.Marshal(req)
			must(t, err)
			messages, _ := w.stream("/nave.v1.Sessions/Events", token, string(body))
			for _, m := range messages {
				text, err := json.Marshal(m)
				must(t, err)
				e := new(navev1.Event)
				must(t, protojson.Unmarshal(text, e))
				out = append(out, e)
			}
			return out, nil
		},
		"gRPC": func(ctx context.Context, req *navev1.EventsRequest) (out []*navev1.Event, _ error) {
			s, err := navev1.NewSessionsClient(w.grpc).Events(metadata.AppendToOutgoingContext(ctx, "authorization", token), req)
			for err == nil {
				var e *navev1.Event
				if e, err = s.Recv(); err == nil {
					out = append(out, e)
				}
			}
			return out, nil
		},
	}
	for name, call := range over {
		for _, deltas := range []bool{true, false} {
			got, err := call(t.Context(), &navev1.EventsRequest{SessionId: someULID, Follow: true, Deltas: deltas, Limit: 1})
			must(t, err)
			i := slices.IndexFunc(got, func(e *navev1.Event) bool { return e.GetDelta() != nil })
			if (i >= 0) != deltas || len(got) == 0 {
				t.Errorf("over %s with deltas %t: %v", name, deltas, got)
				continue
			}
			if e := got[max(i, 0)]; deltas && (e.GetNumber() != 0 || e.GetType() != "message" || e.GetSource() != "1.2/3" || e.GetDelta().GetText() != "hel\ufffd" || e.GetDelta().GetOffset() != 7 || e.GetDelta().GetStream() != "m1") {
				t.Errorf("over %s: %v", name, e)
			}
		}
	}
}
