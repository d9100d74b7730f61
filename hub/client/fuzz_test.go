package client

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/nave-dev/nave/api"
)

// FuzzJoinToken: what a person hands over as a join token is refused with its field and without repeating its secret, or is
// one that is written to the same again. With mend the text is a body that gets its checksum.
func FuzzJoinToken(f *testing.F) {
	good := JoinToken{Address: "https://hub.example:7400", AuthorityHash: [32]byte{1}, ClusterID: "01J00000000000000000000000", Secret: "secret-secret"}
	f.Add(good.String(), false)
	for _, s := range []string{"", joinPrefix, joinPrefix[:5], joinFamily + "2.x", good.String() + "0", good.String()[:90], " " + good.String() + "\n", good.String() + "\nx", strings.Repeat("a", maxJoinToken+1)} {
		f.Add(s, false)
	}
	for _, b := range []joinBody{{}, {Address: "http://x", Authority: hex.EncodeToString(good.AuthorityHash[:]), Cluster: "c", Secret: "s"}, {Address: "https://h:1", Authority: strings.Repeat("0A", 32), Cluster: "c", Secret: "s"}, {Authority: "0"}} {
		text, err := json.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), true)
		f.Add(string(text)+"{}", true)
	}
	f.Fuzz(func(t *testing.T, s string, mend bool) {
		var secret string
		if mend {
			var b joinBody
			if json.Unmarshal([]byte(s), &b) == nil && len(b.Secret) > 8 {
				secret = b.Secret
			}
			s = joinPrefix + base64.RawURLEncoding.EncodeToString([]byte(s))
			s += "." + checksum(s)
		}
		got, err := ParseJoinToken(s)
		if err != nil {
			if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) == "" {
				t.Errorf("refused as %s, field %q: %v", api.CodeOf(err), api.FieldOf(err), err)
			}
			if secret != "" && !strings.Contains("https://hub.example join_token address", secret) && strings.Contains(err.Error(), secret) {
				t.Errorf("the secret %q is in %q", secret, err)
			}
			return
		}
		if got.Validate() != nil || len(s) > maxJoinToken+100 {
			t.Errorf("taken: %+v", got)
		}
		if back, err := ParseJoinToken(got.String()); len(got.String()) <= maxJoinToken && (err != nil || back != got) {
			t.Errorf("%+v became %+v, %v", got, back, err)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", got)
		if len(got.Secret) > 8 && !strings.Contains(got.Address+string(got.ClusterID), got.Secret) && strings.Contains(log.String(), got.Secret) {
			t.Errorf("the secret is logged: %s", log.String())
		}
	})
}

// FuzzContexts: a contexts file is refused by an error of ours, or holds contexts of different names that are saved and read
// as they are.
func FuzzContexts(f *testing.F) {
	f.Add([]byte("current: a\ncontexts:\n- name: a\n  address: https://h:1\n  ca: |\n    x\n  token: nave_x\n"))
	for _, s := range []string{"", "{}", "null", "- a", "current: b", "contexts: [{name: a}, {name: a}]", "contexts: [{name: a, tokn: x}]", "a: &a [*a]", "\xff", "contexts: [{name: \"\\0\\u2028\"}]",
		"contexts: [{name: a, token: \"x\\r\\n y \"}]", "contexts: [{name: '~', address: 'yes', token: '1e3'}]", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c]"} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := LoadContexts(path)
		if err != nil {
			var e *api.Error
			if !errors.As(err, &e) || e.Code != api.CodeInvalid {
				t.Errorf("refused as %v", err)
			}
			return
		}
		if c, err := got.Find(""); err == nil && c.Name != got.Current {
			t.Errorf("the current context is %+v", c)
		}
		if err := got.Save(path); err != nil {
			t.Fatal(err)
		}
		back, err := LoadContexts(path)
		if err != nil || cmp.Diff(got, back, cmpopts.EquateEmpty()) != "" {
			t.Errorf("%+v became %+v, %v", got, back, err)
		}
	})
}

// FuzzHubError: whatever a hub, or something in its place, says of a refusal becomes an error of a code of ours.
func FuzzHubError(f *testing.F) {
	for _, reason := range append(api.Codes(), "new", "") {
		f.Add(uint32(3), "message", errorDomain, string(reason), "spec.image")
	}
	f.Add(uint32(0), "", "", "", "")
	f.Add(uint32(99), "\xff", errorDomain, "invalid", "\x00")
	f.Fuzz(func(t *testing.T, status uint32, message, domain, reason, field string) {
		if status == 0 {
			return // no error has it
		}
		ce := connect.NewWireError(connect.Code(status), errors.New(message))
		info, err := anypb.New(&errdetails.ErrorInfo{Domain: strings.ToValidUTF8(domain, ""), Reason: strings.ToValidUTF8(reason, ""), Metadata: map[string]string{"field": strings.ToValidUTF8(field, "")}})
		if err != nil {
			t.Fatal(err)
		}
		for _, any := range []*anypb.Any{{TypeUrl: info.TypeUrl, Value: []byte(message)}, {TypeUrl: "type.googleapis.com/no.such"}, info} {
			d, err := connect.NewErrorDetail(any)
			if err != nil {
				t.Fatal(err)
			}
			ce.AddDetail(d)
		}
		got := decode(t.Context(), ce)
		var e *api.Error
		if !errors.As(got, &e) || !slices.Contains(api.Codes(), e.Code) || e.Error() == "" {
			t.Fatalf("%v became %v", ce, got)
		}
		if domain == errorDomain && slices.Contains(api.Codes(), api.Code(reason)) && string(e.Code) != reason {
			t.Errorf("%q became %q", reason, e.Code)
		}
	})
}
