package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
)

// FuzzParseSource: a source has one text, and its text is its inverse.
func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"hub", "1.1/1", "0.0/0", "4294967295.18446744073709551615/4294967295", "4294967296.1/1", "01.1/1", "1.1/1 ", "+1.1/1", "1.1", "", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		src, err := api.ParseSource(s)
		if err == nil && src.String() != s {
			t.Errorf("%q is taken as %v", s, src)
		}
		if back, err := api.ParseSource(src.String()); src != api.HubSource && (err != nil || back != src) {
			t.Errorf("%v is read as %v, %v", src, back, err)
		}
	})
}

// FuzzParseULID: an id has one text, and a session's id always tells a shard.
func FuzzParseULID(f *testing.F) {
	for _, s := range []string{api.NewULID(time.Unix(1_700_000_000, 0), [10]byte{7}), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "", strings.Repeat("0", 26), strings.Repeat("0", 27), "01hf7yat00e00000000000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := api.ParseULID(s)
		if err != nil {
			return
		}
		ms := int64(b[0])<<40 | int64(b[1])<<32 | int64(b[2])<<24 | int64(b[3])<<16 | int64(b[4])<<8 | int64(b[5])
		if again := api.NewULID(time.UnixMilli(ms), [10]byte(b[6:])); again != s {
			t.Errorf("%q is taken as %q", s, again)
		}
		if shard, err := api.SessionID(s).Shard(); err != nil || byte(shard) != b[6] {
			t.Errorf("shard of %q is %d, %v", s, shard, err)
		}
	})
}

// FuzzParseSelector: a selector is refused with its field, or is bounded requirements that a policy could hold.
func FuzzParseSelector(f *testing.F) {
	for _, s := range []string{"", "a=b", "a==b,c!=d", "a in (b,c)", "a notin (b)", "a,!b", "a in (", "a in ()", "a in (b", ",", "a=b,", "!", "a b", "nave.dev/x in (y),z", "in in (in)", "a=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := api.ParseSelector(s)
		if err != nil {
			if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "selector" {
				t.Errorf("%q is refused as %s, field %q", s, api.CodeOf(err), api.FieldOf(err))
			}
			return
		}
		if len(got) > api.MaxListItems {
			t.Errorf("%d requirements", len(got))
		}
		if len(got) > 0 {
			if err := (&api.PlacementPolicySpec{Requirements: got}).Validate(); err != nil {
				t.Errorf("%q is taken as %+v, which no policy can hold: %v", s, got, err)
			}
		}
		if again, err := api.ParseSelector(s); err != nil || cmp.Diff(got, again) != "" {
			t.Errorf("%q is read as another one: %+v, %v", s, again, err)
		}
	})
}

// FuzzNames: what a person gives as a name, a key or a label is refused with the field that it was given for, or is bounded.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "", "A", "a-b", "-", strings.Repeat("a", 64), strings.Repeat("k", 600), "pr 7", "a\x00b", "\xff", "\u202e", "nave.dev/a", "/", "a/b/c", strings.Repeat("\xff", 5000)} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, s, value string) {
		for _, err := range []error{api.ValidateName("f", s), api.ValidateSessionKey("f", s), api.ValidateIdempotencyKey("f", s)} {
			if err != nil && (api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "f") {
				t.Errorf("%q is refused as %s, field %q", s, api.CodeOf(err), api.FieldOf(err))
			}
			if err == nil && (len(s) > 512 || strings.ContainsRune(s, 0)) {
				t.Errorf("%q is let through", s)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		}
		if err := api.ValidateLabels("labels", map[string]string{s: value}); err != nil && (api.CodeOf(err) != api.CodeInvalid || !strings.HasPrefix(api.FieldOf(err), "labels")) {
			t.Errorf("label %q=%q is refused as %s, field %q", s, value, api.CodeOf(err), api.FieldOf(err))
		} else if err != nil && len(err.Error()) > 3000 { // its field has the key, of 253 and 63 bytes at most, in it
			t.Errorf("an error of %d bytes for a label", len(err.Error()))
		}
	})
}
