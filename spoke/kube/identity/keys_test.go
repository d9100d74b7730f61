package identity_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/kube/identity"
)

func TestAKeyThatIsAddedIsFound(t *testing.T) {
	first, second := newSigner(t, "k1", jose.ES256), newSigner(t, "k2", jose.ES256)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, first)
		r.takes(t, first.sign(t, claimsOf(r.id, time.Now())))
		r.server.set(func(s *server) { s.keys = append(s.keys, second.published()) })
		// Asked a moment ago: nobody can tell, and trying again is worth it.
		r.refuses(t, second.sign(t, claimsOf(r.id, time.Now())), api.CodeUnavailable)
		time.Sleep(identity.AskPause)
		r.takes(t, second.sign(t, claimsOf(r.id, time.Now())))
		r.takes(t, first.sign(t, claimsOf(r.id, time.Now())))
		if n := r.server.count(); n != 2 {
			t.Errorf("the API server was asked %d times, want 2", n)
		}
	})
}

func TestAKeyThatIsTakenBackCountsNoLonger(t *testing.T) {
	first, second := newSigner(t, "k1", jose.ES256), newSigner(t, "k2", jose.ES256)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, first, second)
		r.takes(t, first.sign(t, claimsOf(r.id, time.Now())))
		r.server.set(func(s *server) { s.keys = s.keys[1:] })
		r.takes(t, first.sign(t, claimsOf(r.id, time.Now())))
		time.Sleep(identity.FreshFor)
		r.refuses(t, first.sign(t, claimsOf(r.id, time.Now())), api.CodeUnauthenticated)
		r.takes(t, second.sign(t, claimsOf(r.id, time.Now())))
	})
}

func TestKnownKeysOutliveTheAPIServerForABoundedTime(t *testing.T) {
	key := newSigner(t, "k1", jose.ES256)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, key)
		r.takes(t, key.sign(t, claimsOf(r.id, time.Now())))
		r.server.set(func(s *server) { s.away = true })
		began := time.Now()
		for time.Since(began) < identity.Believed-time.Second {
			r.takes(t, key.sign(t, claimsOf(r.id, time.Now())))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		r.refuses(t, key.sign(t, claimsOf(r.id, time.Now())), api.CodeUnavailable)
		if n := r.server.count(); n < 100 || n > 152 { // one in ten seconds, from the fifth minute on
			t.Errorf("the API server was asked %d times", n)
		}
		r.server.set(func(s *server) { s.away = false })
		time.Sleep(identity.AskPause)
		r.takes(t, key.sign(t, claimsOf(r.id, time.Now())))
	})
}

func TestATokenThatExpiresWhileTheAPIServerIsAway(t *testing.T) {
	key := newSigner(t, "k1", jose.ES256)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, key)
		token := key.sign(t, claimsOf(r.id, time.Now()))
		r.takes(t, token)
		r.server.set(func(s *server) { s.away = true })
		time.Sleep(12 * time.Minute)
		r.refuses(t, token, api.CodeUnavailable) // nobody could give it another
		r.server.set(func(s *server) { s.away = false })
		time.Sleep(identity.AskPause)
		r.refuses(t, token, api.CodeUnauthenticated)
	})
}

func TestAFloodOfUnknownKeysAsksOnceInTenSeconds(t *testing.T) {
	key, stranger := newSigner(t, "k1", jose.ES256), newSigner(t, "k9", jose.ES256)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, key)
		r.server.delay = 100 * time.Millisecond
		for range 600 { // a minute
			g := run.NewGroup(t.Context())
			for range 10 {
				g.Go("unknown", func(ctx context.Context) error {
					err := r.Verify(ctx, r.id, stranger.sign(t, claimsOf(r.id, time.Now())))
					if code := api.CodeOf(err); code != api.CodeUnauthenticated && code != api.CodeUnavailable {
						t.Errorf("verify: %v", err)
					}
					return nil
				})
				g.Go("known", func(ctx context.Context) error {
					if err := r.Verify(ctx, r.id, key.sign(t, claimsOf(r.id, time.Now()))); err != nil {
						t.Errorf("the pod's own token in the flood: %v", err)
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		asked := r.server.asked
		for i := 1; i < len(asked); i++ {
			if pause := asked[i].Sub(asked[i-1]); pause < identity.AskPause {
				t.Errorf("asked again after %v", pause)
			}
		}
		if len(asked) < 5 || len(asked) > 14 {
			t.Errorf("12000 tokens asked %d times", len(asked))
		}
	})
}

func TestAnAPIServerThatHangsHoldsUpNobodyForLong(t *testing.T) {
	key := newSigner(t, "k1", jose.ES256)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, key)
		r.server.set(func(s *server) { s.hangs = true })
		began := time.Now()
		r.refuses(t, key.sign(t, claimsOf(r.id, began)), api.CodeUnavailable)
		if took := time.Since(began); took != identity.AskLimit {
			t.Errorf("the first answer took %v, want %v", took, identity.AskLimit)
		}
		// A caller that goes leaves the question to those who stay.
		time.Sleep(identity.AskPause)
		r.server.set(func(s *server) { s.hangs, s.delay = false, 2*time.Second })
		going, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("gone"))
		defer cancel()
		g := run.NewGroup(t.Context())
		g.Go("goes", func(context.Context) error {
			if err := r.Verify(going, r.id, key.sign(t, claimsOf(r.id, time.Now()))); err == nil || err.Error() != "gone" {
				t.Errorf("verify: %v, want the caller's own reason", err)
			}
			return nil
		})
		synctest.Wait()
		r.takes(t, key.sign(t, claimsOf(r.id, time.Now())))
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if n := r.server.count(); n != 2 {
			t.Errorf("the API server was asked %d times, want 2", n)
		}
	})
}

func TestWhoKnowsTheKeyWaitsForNobody(t *testing.T) {
	key := newSigner(t, "k1", jose.ES256)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, key)
		r.takes(t, key.sign(t, claimsOf(r.id, time.Now())))
		time.Sleep(identity.FreshFor)
		r.server.set(func(s *server) { s.delay = 2 * time.Second })
		g := run.NewGroup(t.Context())
		g.Go("asks", func(context.Context) error {
			r.takes(t, key.sign(t, claimsOf(r.id, time.Now())))
			return nil
		})
		synctest.Wait() // the question is under way
		began := time.Now()
		r.takes(t, key.sign(t, claimsOf(r.id, began)))
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a token of a known key waited %v for another's question", waited)
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if n := r.server.count(); n != 2 {
			t.Errorf("the API server was asked %d times, want 2", n)
		}
	})
}

func TestAnswersThatAreNotTaken(t *testing.T) {
	key := newSigner(t, "k1", jose.ES256)
	for name, c := range map[string]struct {
		set func(*server)
		say string
	}{
		"forbidden":      {func(s *server) { s.status = http.StatusForbidden }, "system:service-account-issuer-discovery"},
		"not there":      {func(s *server) { s.status = http.StatusNotFound }, "--service-account-issuer"},
		"elsewhere":      {func(s *server) { s.status = http.StatusFound }, "Found"},
		"not JSON":       {func(s *server) { s.body = []byte("<html>") }, "read the key set"},
		"no keys":        {func(s *server) { s.keys = nil }, "none of 0"},
		"too large":      {func(s *server) { s.body = make([]byte, identity.MaxAnswer+1) }, "more than"},
		"private keys":   {func(s *server) { s.keys[0].Key = key.private }, "none of 1"},
		"for encryption": {func(s *server) { s.keys[0].Use = "enc" }, "none of 1"},
		"a shared secret": {func(s *server) {
			s.keys[0] = jose.JSONWebKey{Key: []byte("secret-secret-secret-secret-secr"), KeyID: "k1", Algorithm: "HS256"}
		}, "none of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, key)
			c.set(r.server)
			err := r.Ready(t.Context())
			if api.CodeOf(err) != api.CodeUnavailable {
				t.Fatalf("ready: %v, want %s", err, api.CodeUnavailable)
			}
			if !strings.Contains(r.log.String(), c.say) {
				t.Errorf("the log does not say %q:\n%s", c.say, r.log)
			}
			if strings.Contains(err.Error(), c.say) {
				t.Errorf("a caller learns of the API server: %v", err)
			}
		})
	}
}

func TestReady(t *testing.T) {
	if err := newRig(t, newSigner(t, "k1", jose.RS256)).Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
