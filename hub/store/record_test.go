package store

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

// A field that a record forgets is lost when the shard has its next owner: every field of the nouns comes back.
func TestRecordsForgetNoField(t *testing.T) {
	session := filled[api.Session](t)
	if d := cmp.Diff(session, sessionFrom(sessionRecord(&session))); d != "" {
		t.Errorf("session (-put +got):\n%s", d)
	}
	signal := filled[api.Signal](t)
	if d := cmp.Diff(signal, signalFrom(signalRecord("acme", &signal))); d != "" {
		t.Errorf("signal (-put +got):\n%s", d)
	}
	if got := signalRecord("acme", &signal).GetOrg(); got != "acme" {
		t.Errorf("record of a signal is of organization %q, want acme", got)
	}
	item := filled[hub.OutboxItem](t)
	rec, err := outboxRecord("key", "acme", &item)
	if err != nil {
		t.Fatal(err)
	}
	back, err := outboxFrom("key", rec)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(item, back); d != "" {
		t.Errorf("outbox item (-put +got):\n%s", d)
	}
}

func TestClusterForgetsNoField(t *testing.T) {
	want := filled[api.Cluster](t)
	want.Etag, want.Status = "7", api.ClusterStatus{} // not part of the record
	var r recordv1.Cluster
	setCluster(&r, want)
	if d := cmp.Diff(want, clusterFrom(&r, 7)); d != "" {
		t.Errorf("cluster (-put +got):\n%s", d)
	}
}

// What is stored may say a longer time than what was meant, never a shorter one, and never is for ever.
func TestStopAfterIsNeverShortened(t *testing.T) {
	for _, tt := range []struct{ is, want time.Duration }{
		{0, 0}, {time.Millisecond, time.Millisecond}, {time.Minute, time.Minute}, {time.Minute + 1, time.Minute + time.Millisecond}, {api.StopNever, api.StopNever},
	} {
		if got := stopAfterFrom(stopAfterRecord(tt.is)); got != tt.want {
			t.Errorf("%v comes back as %v, want %v", tt.is, got, tt.want)
		}
	}
}

// filled returns a value of which no field is zero.
func filled[T any](t *testing.T) T {
	t.Helper()
	var v T
	n := 0
	fill(t, reflect.ValueOf(&v).Elem(), &n)
	return v
}

func fill(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(int64(1_700_000_000+*n), 123).UTC()))
		return
	case v.Type() == reflect.TypeFor[time.Duration]():
		v.SetInt(int64(*n) * int64(time.Millisecond))
		return
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, n)
		fill(t, value, n)
		v.SetMapIndex(key, value)
	default:
		t.Fatalf("no value for a %s", v.Type())
	}
}
