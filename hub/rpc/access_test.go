package rpc_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// needs is the judge of the access table: what each method must require, written down a second time.
var needs = map[string]hub.Role{
	"Enrollment/Enroll": "",
	"Clusters/Register": hub.RoleAdmin, "Clusters/Update": hub.RoleAdmin, "Clusters/Delete": hub.RoleAdmin,
	"Clusters/Get": hub.RoleViewer, "Clusters/List": hub.RoleViewer,
	"Environments/Put": hub.RoleOperator, "Environments/Delete": hub.RoleOperator,
	"Environments/Get": hub.RoleViewer, "Environments/List": hub.RoleViewer, "Environments/ListRevisions": hub.RoleViewer,
	"Agents/Put": hub.RoleOperator, "Agents/Delete": hub.RoleOperator,
	"Agents/Get": hub.RoleViewer, "Agents/List": hub.RoleViewer, "Agents/ListRevisions": hub.RoleViewer,
	"PlacementPolicies/Put": hub.RoleOperator, "PlacementPolicies/Delete": hub.RoleOperator,
	"PlacementPolicies/Get": hub.RoleViewer, "PlacementPolicies/List": hub.RoleViewer, "PlacementPolicies/ListRevisions": hub.RoleViewer,
	"Sessions/Signal": hub.RoleOperator, "Sessions/SignalMany": hub.RoleOperator,
	"Sessions/Get": hub.RoleViewer, "Sessions/List": hub.RoleViewer, "Sessions/Events": hub.RoleViewer, "Sessions/Explain": hub.RoleViewer,
	"Sessions/Pause": hub.RoleOperator, "Sessions/Resume": hub.RoleOperator, "Sessions/Terminate": hub.RoleOperator, "Sessions/Replay": hub.RoleOperator,
	"Sessions/ListDeadLetters": hub.RoleViewer, "Sessions/GetDeadLetter": hub.RoleViewer, "Sessions/ListSideEvents": hub.RoleViewer,
	"Sessions/Cancel": hub.RoleOperator,
	"Approvals/List":  hub.RoleViewer, "Approvals/Get": hub.RoleViewer, "Approvals/Answer": hub.RoleOperator,
	"Clusters/Rejoin": hub.RoleAdmin,
	"Grants/Put":      hub.RoleAdmin, "Grants/Delete": hub.RoleAdmin,
	"Grants/Get": hub.RoleViewer, "Grants/List": hub.RoleViewer, "Grants/ListRevisions": hub.RoleViewer,
	"System/Info": hub.RoleViewer, "System/Status": hub.RoleViewer,
}

var weaker = map[hub.Role]hub.Role{hub.RoleAdmin: hub.RoleOperator, hub.RoleOperator: hub.RoleViewer, hub.RoleViewer: "guest"}

// everyMethod lists the methods of the API as "Service/Method".
func everyMethod() map[string]protoreflect.MethodDescriptor {
	out := map[string]protoreflect.MethodDescriptor{}
	for _, f := range []protoreflect.FileDescriptor{navev1.File_api_navev1_definitions_proto, navev1.File_api_navev1_clusters_proto, navev1.File_api_navev1_sessions_proto} {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				out[string(s.Name())+"/"+string(s.Methods().Get(j).Name())] = s.Methods().Get(j)
			}
		}
	}
	return out
}

func TestEveryMethodRefusesWhoMayNotCallIt(t *testing.T) {
	w := newWorld(t, nil)
	tokens := map[hub.Role]string{"guest": w.token("guest", time.Time{})}
	for _, r := range []hub.Role{hub.RoleViewer, hub.RoleOperator, hub.RoleAdmin} {
		tokens[r] = w.token(r, time.Time{})
	}
	expired := w.token(hub.RoleAdmin, time.Now().Add(-time.Second))
	unknown, _, err := hub.NewToken(strings.NewReader(strings.Repeat("x", 32)))
	must(t, err)

	all := everyMethod()
	if len(all) != len(needs) {
		t.Errorf("%d methods are served, the test knows %d", len(all), len(needs))
	}
	for name, m := range all {
		role, ok := needs[name]
		if !ok {
			t.Errorf("the test does not say what %s needs", name)
			continue
		}
		calls := []struct {
			what, authorization string
			want                api.Code
		}{
			{"no credential", "", api.CodeUnauthenticated},
			{"another scheme", "Basic " + tokens[hub.RoleAdmin], api.CodeUnauthenticated},
			{"no scheme", tokens[hub.RoleAdmin], api.CodeUnauthenticated},
			{"an empty token", "Bearer ", api.CodeUnauthenticated},
			{"a malformed token", "Bearer nave_x", api.CodeUnauthenticated},
			{"an unknown token", "Bearer " + unknown, api.CodeUnauthenticated},
			{"an expired token", "Bearer " + expired, api.CodeUnauthenticated},
			{"too weak a role", "Bearer " + tokens[weaker[role]], api.CodeDenied},
		}
		for _, c := range calls {
			if role == "" {
				c.want = api.CodeInvalid // public: the handler is reached and finds the request empty
			}
			if got := w.callHTTP(m, c.authorization); got != c.want {
				t.Errorf("%s over HTTP with %s answered %q, want %q", name, c.what, got, c.want)
			}
			if got := w.callGRPC(m, c.authorization); got != c.want {
				t.Errorf("%s over gRPC with %s answered %q, want %q", name, c.what, got, c.want)
			}
		}
		if role == "" {
			continue
		}
		for over, call := range map[string]func(protoreflect.MethodDescriptor, string) api.Code{"HTTP": w.callHTTP, "gRPC": w.callGRPC} {
			if got := call(m, "Bearer "+tokens[role]); got == api.CodeUnauthenticated || got == api.CodeDenied || got == api.CodeInternal {
				t.Errorf("%s over %s with role %s answered %q: it must reach the handler", name, over, role, got)
			}
		}
	}
	if logs := w.logs.String(); strings.Contains(logs, "nave_") {
		t.Error("a token is in the log")
	}
}

func fullName(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}

// callHTTP sends an empty message in connect's protocol and returns the code.
func (w *world) callHTTP(m protoreflect.MethodDescriptor, authorization string) api.Code {
	w.t.Helper()
	if !m.IsStreamingServer() {
		return w.post(fullName(m), authorization, "{}").Code
	}
	_, a := w.stream(fullName(m), authorization, "{}")
	return a.Code
}

// stream calls a streaming method over HTTP and returns the messages and how it ended.
func (w *world) stream(method, authorization, body string) ([]map[string]any, answer) {
	w.t.Helper()
	frame := append([]byte{0, 0, 0, 0, byte(len(body))}, body...)
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.http.URL+method, strings.NewReader(string(frame)))
	must(w.t, err)
	req.Header.Set("Content-Type", "application/connect+json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := w.http.Client().Do(req)
	must(w.t, err)
	defer func() { _ = res.Body.Close() }()
	var messages []map[string]any
	for {
		var head [5]byte
		if _, err := io.ReadFull(res.Body, head[:]); err != nil {
			w.t.Fatalf("%s ended without an end (status %d): %v", method, res.StatusCode, err)
		}
		text := make([]byte, binary.BigEndian.Uint32(head[1:]))
		_, err := io.ReadFull(res.Body, text)
		must(w.t, err)
		var out map[string]any
		must(w.t, json.Unmarshal(text, &out))
		if head[0]&2 == 0 {
			messages = append(messages, out)
			continue
		}
		if e, ok := out["error"].(map[string]any); ok {
			return messages, errorOf(w.t, res.StatusCode, e)
		}
		return messages, answer{Status: res.StatusCode}
	}
}

// callGRPC sends an empty message over gRPC and returns the code.
func (w *world) callGRPC(m protoreflect.MethodDescriptor, authorization string) api.Code {
	w.t.Helper()
	ctx := w.t.Context()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	return grpcCode(w.t, w.invoke(ctx, m, dynamicpb.NewMessage(m.Input())))
}

func (w *world) invoke(ctx context.Context, m protoreflect.MethodDescriptor, in any) error {
	out := dynamicpb.NewMessage(m.Output())
	if !m.IsStreamingServer() {
		return w.grpc.Invoke(ctx, fullName(m), in, out)
	}
	s, err := w.grpc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, fullName(m))
	if err != nil {
		return err
	}
	if err := s.SendMsg(in); err != nil && err != io.EOF {
		return err
	}
	must(w.t, s.CloseSend())
	for {
		if err := s.RecvMsg(out); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func grpcCode(t *testing.T, err error) api.Code {
	t.Helper()
	if err == nil {
		return ""
	}
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && i.GetDomain() == "nave.dev" {
			return api.Code(i.GetReason())
		}
	}
	return "no detail: " + api.Code(err.Error())
}
