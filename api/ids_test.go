package api_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

func entropy(t *rapid.T) (e [10]byte) {
	copy(e[:], rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "entropy"))
	return e
}

func TestULIDIsTheFieldsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Uint64Range(0, 1<<48-1).Draw(t, "ms")
		e := entropy(t)
		want, err := ulid.New(ms, bytes.NewReader(e[:]))
		if err != nil {
			t.Fatal(err)
		}
		got := api.NewULID(time.UnixMilli(int64(ms)), e)
		if got != want.String() {
			t.Fatalf("NewULID = %s, want %s", got, want)
		}
		b, err := api.ParseULID(got)
		if err != nil || b != [16]byte(want) {
			t.Fatalf("ParseULID(%s) = %x, %v", got, b, err)
		}
	})
}

func TestParseULIDRefusesWhatIsNone(t *testing.T) {
	good := api.NewULID(time.UnixMilli(1_700_000_000_000), [10]byte{1})
	for _, s := range []string{"", good[1:], good + "0", "8" + good[1:], "i" + good[1:], good[:25] + "U", good[:25] + "o", good[:25] + "é"[:1]} {
		if _, err := api.ParseULID(s); err == nil {
			t.Errorf("ParseULID(%q) is accepted", s)
		}
	}
}

func TestSessionIDCarriesItsShard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shard := api.Shard(rapid.Byte().Draw(t, "shard"))
		id := api.NewSessionID(time.UnixMilli(rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")), shard, entropy(t))
		if got, err := id.Shard(); err != nil || got != shard {
			t.Fatalf("%s carries %d, %v; want %d", id, got, err, shard)
		}
	})
	if _, err := api.SessionID("no id").Shard(); err == nil {
		t.Error("a malformed id has a shard")
	}
}

// The values are part of the stored format: computed with another implementation of SHA-256 from the rule in ShardFor's
// comment.
func TestShardForIsFixed(t *testing.T) {
	for _, c := range []struct {
		org   api.OrgID
		agent api.ObjectID
		key   string
		want  api.Shard
	}{
		{"default", "01JDBZ0000000000000000000A", "alice", 116},
		{"default", "01JDBZ0000000000000000000A", "bob", 62},
		{"", "", "", 21},
		{"a", "bc", "d", 241},
		{"ab", "c", "d", 254},
		{"default", "01JDBZ0000000000000000000A", "schlüssel/1", 48},
	} {
		if got := api.ShardFor(c.org, c.agent, c.key); got != c.want {
			t.Errorf("ShardFor(%q, %q, %q) = %d, want %d", c.org, c.agent, c.key, got, c.want)
		}
	}
}

func TestEpochsAndHeadsAreOrdered(t *testing.T) {
	epochs := []api.Epoch{{}, {0, 7}, {1, 0}, {1, 1}, {1, math.MaxUint64}, {2, 1}}
	for i, a := range epochs {
		for j, b := range epochs {
			want := min(max(i-j, -1), 1)
			if got := a.Compare(b); got != want {
				t.Errorf("%v compared with %v is %d, want %d", a, b, got, want)
			}
			ga, gb := api.Generation(a), api.Generation(b)
			if got := ga.Compare(gb); got != want {
				t.Errorf("generation %v compared with %v is %d, want %d", ga, gb, got, want)
			}
			// The batch decides only between equal generations.
			ha, hb := api.Head{Generation: ga, Batch: 1}, api.Head{Generation: gb, Batch: 2}
			wantHead := want
			if i == j {
				wantHead = -1
			}
			if got := ha.Compare(hb); got != wantHead {
				t.Errorf("head %v compared with %v is %d, want %d", ha, hb, got, wantHead)
			}
		}
	}
	if !(api.Epoch{}).IsZero() || (api.Epoch{Incarnation: 1}).IsZero() {
		t.Error("only the zero epoch is zero")
	}
	e := api.Epoch{Incarnation: 1, N: 4}
	if next := e.Next(3); next != (api.Epoch{Incarnation: 3, N: 5}) || next.Compare(e) <= 0 || next.String() != "3.5" {
		t.Errorf("the epoch after %v is %v", e, next)
	}
}

func TestSourcesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := api.Source{
			Epoch:   api.Epoch{Incarnation: rapid.Uint32().Draw(t, "incarnation"), N: rapid.Uint64().Draw(t, "n")},
			Attempt: rapid.Uint32().Draw(t, "attempt"),
		}
		if got, err := api.ParseSource(s.String()); err != nil || got != s {
			t.Fatalf("ParseSource(%q) = %v, %v", s, got, err)
		}
	})
	for _, s := range []string{"", "Hub", "1.2", "1.2/3x", " 1.2/3", "01.2/3", "-1.2/3", "1.2/4294967296", "0.0/0"} {
		if got, err := api.ParseSource(s); err == nil {
			t.Errorf("ParseSource(%q) = %v is accepted", s, got)
		}
	}
}
