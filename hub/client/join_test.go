package client_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/client"
)

func drawToken(t *rapid.T) client.JoinToken {
	tok := client.JoinToken{
		Address:   "https://" + rapid.StringMatching(`[a-z][a-z0-9.-]{0,30}`).Draw(t, "host") + ":8443",
		ClusterID: api.ClusterID(rapid.StringMatching(`[0-9A-HJKMNP-TV-Z]{26}`).Draw(t, "cluster")),
		Secret:    rapid.StringN(1, 60, -1).Draw(t, "secret"),
	}
	copy(tok.AuthorityHash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
	tok.AuthorityHash[0] |= 1
	return tok
}

func TestJoinTokenComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tok := drawToken(t)
		got, err := client.ParseJoinToken(" " + tok.String() + "\n")
		if err != nil || got != tok {
			t.Fatalf("got %+v, %v; want %+v", got, err, tok)
		}
	})
}

func TestJoinTokenCutOff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawToken(t).String()
		n := rapid.IntRange(1, len(s)-1).Draw(t, "length")
		_, err := client.ParseJoinToken(s[:n])
		if err == nil || !strings.Contains(err.Error(), "cut off") {
			t.Fatalf("cut to %d of %d: %v", n, len(s), err)
		}
	})
}

func TestJoinTokenMistyped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := []byte(drawToken(t).String())
		i := rapid.IntRange(0, len(s)-1).Draw(t, "at")
		c := rapid.SampledFrom([]byte("abcXYZ019-_")).Filter(func(c byte) bool { return c != s[i] }).Draw(t, "typed")
		s[i] = c
		_, err := client.ParseJoinToken(string(s))
		if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "join_token" {
			t.Fatalf("changed at %d: %v", i, err)
		}
	})
}

func TestJoinTokenRefusals(t *testing.T) {
	good := client.JoinToken{Address: "https://hub:1", AuthorityHash: [32]byte{1}, ClusterID: "C", Secret: "hush"}
	s := good.String()
	for _, tc := range []struct{ name, text, want string }{
		{"empty", " ", "is empty"},
		{"other text", "hello", "is not a join token"},
		{"wrapped", s[:30] + "\n" + s[30:], "space or a line break"},
		{"later version", strings.Replace(s, "v1", "v2", 1), "version"},
		{"tail", s + "x", "behind its end"},
		{"middle lost", s[:20] + s[22:], "mistyped"},
		{"huge", s + strings.Repeat("x", 5000), "too long"},
		{"no secret", client.JoinToken{Address: "https://hub:1", AuthorityHash: [32]byte{1}, ClusterID: "C"}.String(), "no secret"},
		{"plain http", client.JoinToken{Address: "http://hub:1", AuthorityHash: [32]byte{1}, ClusterID: "C", Secret: "hush"}.String(), "use https"},
		{"no authority", client.JoinToken{Address: "https://hub:1", ClusterID: "C", Secret: "hush"}.String(), "no authority"},
	} {
		_, err := client.ParseJoinToken(tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error holds the secret: %v", tc.name, err)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("enrolling", "token", good)
	if strings.Contains(log.String(), "hush") || strings.Contains(log.String(), "nave-join") {
		t.Errorf("the log holds the secret: %s", &log)
	}
}
