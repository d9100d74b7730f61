package rpc_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/hub"
)

func TestARevisionNamesWhoMadeIt(t *testing.T) {
	w := newWorld(t, nil)
	subjects := map[string]string{} // token to subject
	admin, operator := w.token(hub.RoleAdmin, time.Time{}), w.token(hub.RoleOperator, time.Time{})
	for _, token := range []string{admin, operator} {
		subjects[token] = w.post("/nave.v1.System/Info", "Bearer "+token, "{}").Body["subject"].(string)
	}
	call := func(method, token, body string) map[string]any {
		t.Helper()
		a := w.post("/nave.v1.Environments/"+method, "Bearer "+token, body)
		if a.Code != "" {
			t.Fatalf("%s answered %v", method, a)
		}
		return a.Body
	}
	by := func(environment any) any { return environment.(map[string]any)["meta"].(map[string]any)["updatedBy"] }
	put := func(token, image string) any {
		t.Helper()
		return by(call("Put", token, `{"environment": {"meta": {"name": "e", "updated_by": "somebody"}, "spec": {"image": "`+image+`"}}}`)["environment"])
	}
	got := []any{put(admin, "a"), put(operator, "a"), put(operator, "b"), by(call("Get", admin, `{"name": "e"}`)), by(call("Get", admin, `{"name": "e", "revision": 1}`)),
		by(call("List", admin, `{}`)["environments"].([]any)[0])}
	for _, e := range call("ListRevisions", admin, `{"name": "e"}`)["environments"].([]any) {
		got = append(got, by(e))
	}
	first, second := any(subjects[admin]), any(subjects[operator])
	if d := cmp.Diff([]any{first, first, second, second, first, second, second, first}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
