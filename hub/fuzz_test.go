package hub

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
)

// FuzzPager: a page token is refused with its field, or is the one of this list, and its inverse gives where it begins.
func FuzzPager(f *testing.F) {
	p, err := NewPager(0, "", "definitions", "default")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, p.Token("a"), "default")
	f.Add(10, p.Token("a"), "other")
	f.Add(-1, "", "")
	f.Add(MaxPageSize+1, "!", "")
	f.Add(1, p.Token(""), "default")
	f.Add(1, p.Token("a")+"\n", "default")
	f.Add(1, base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\x00", 100))), "default")
	f.Fuzz(func(t *testing.T, size int, token, org string) {
		p, err := NewPager(size, token, "definitions", org)
		if err != nil {
			if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "page_size" && api.FieldOf(err) != "page_token" || len(err.Error()) > 1000 {
				t.Errorf("refused as %s, field %q, %d bytes", api.CodeOf(err), api.FieldOf(err), len(err.Error()))
			}
			return
		}
		if p.Size < 1 || p.Size > MaxPageSize || (p.After == "") != (token == "") {
			t.Errorf("taken: %+v", p)
		}
		back, err := NewPager(size, p.Token("x"+p.After), "definitions", org)
		if err != nil || back.After != "x"+p.After {
			t.Errorf("%q became %q, %v", p.After, back.After, err)
		}
		if _, err := NewPager(size, p.Token("x"), "definitions", org+"x"); api.FieldOf(err) != "page_token" {
			t.Errorf("the token of another list is taken: %v", err)
		}
		if n, err := p.number(); err == nil && (n == 0) != (p.After == "") || err != nil && api.FieldOf(err) != "page_token" {
			t.Errorf("%q is number %d, %v", p.After, n, err)
		}
	})
}

// oneCredential holds the credential of one token.
type oneCredential struct {
	Credentials
	hash [32]byte
}

func (o oneCredential) Credential(_ context.Context, hash [32]byte) (Credential, error) {
	if hash != o.hash {
		return Credential{}, api.Errorf(api.CodeNotFound, "unknown")
	}
	return Credential{Org: "default"}, nil
}

// FuzzToken: a bearer token is the one that was given out, byte for byte, or is refused without being repeated.
func FuzzToken(f *testing.F) {
	token, hash, err := NewToken(strings.NewReader(strings.Repeat("x", 64)))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{token, token + "x", strings.ToUpper(token), tokenPrefix, "", tokenPrefix + strings.Repeat("\x00", secretLength), token[:len(token)-1]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := NewAuthenticator(oneCredential{hash: hash}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Authenticate(t.Context(), s)
		if (err == nil) != (sha256.Sum256([]byte(s)) == hash) {
			t.Errorf("%q: %v", s, err)
		}
		if err != nil && (api.CodeOf(err) != api.CodeUnauthenticated || len(s) > 8 && strings.Contains(err.Error(), s)) {
			t.Errorf("refused as %s: %v", api.CodeOf(err), err)
		}
	})
}

// FuzzApprovalEvent: what a harness says of a request for permission, in attributes of an event, becomes options and texts
// within their bounds, whatever it is, and a wait that is not longer than the request lives.
func FuzzApprovalEvent(f *testing.F) {
	options, err := json.Marshal([]map[string]string{{"id": "y", "name": "Yes", "kind": "allow_once"}, {"id": "n", "name": strings.Repeat("é", 300), "kind": "reject_once"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(options), "30m", "title")
	for _, s := range []string{"", "null", "{}", "[null]", `[{"id":1}]`, `[` + strings.Repeat(`{"id":"a"},`, 300) + `{"id":"a"}]`, "\xff"} {
		f.Add(s, "-1h", s)
		f.Add(s, "1000000h", s)
	}
	f.Fuzz(func(t *testing.T, options, hold, text string) {
		ev := api.Event{Attributes: map[string]string{api.AttrOptions: options, api.AttrHold: hold}}
		got := optionsOf(ev)
		if len(got) > api.MaxApprovalOptions {
			t.Errorf("%d options", len(got))
		}
		for _, o := range got {
			if o.ID == "" || len(o.ID) > 256 || len(o.Name) > 256 || len(o.Kind) > 64 || !utf8.ValidString(o.ID+o.Name+string(o.Kind)) {
				t.Errorf("option %+v", o)
			}
		}
		if again := optionsOf(ev); !slices.Equal(got, again) {
			t.Errorf("%v and then %v", got, again)
		}
		if held, expiry := new(session).patience(ev); held < 0 || held > expiry || expiry <= 0 || expiry > 365*24*time.Hour {
			t.Errorf("held for %v of %v", held, expiry)
		}
		if c := clip(text, api.MaxApprovalTitle); len(c) > api.MaxApprovalTitle || !utf8.ValidString(c) {
			t.Errorf("%q is cut to %q", text, c)
		}
	})
}
