package transport

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

// notCarried are the fields of nouns that the link leaves out, with the reason.
var notCarried = map[string]string{
	"Signal.IdempotencyKey":   "the door's business",
	"Signal.PayloadHash":      "the door's business",
	"Signal.ReplayOf":         "the hub's business",
	"Signal.ConsumedBy":       "consumed signals are not sent",
	"Signal.ConsumedNumber":   "consumed signals are not sent",
	"Signal.ConsumedAs":       "consumed signals are not sent",
	"Signal.Reported":         "is for the hub's store alone",
	"Event.Number":            "the owner gives it",
	"Event.Cluster":           "the hub knows whose link it is",
	"ResolvedRevision.Policy": "placement's business",
}

// fill sets every field of a noun to something that is not its zero value, by what the link can carry.
func fill(t *rapid.T, v reflect.Value, path string) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(rapid.Int64Range(1, 4e9).Draw(t, path), rapid.Int64Range(0, 999_999_999).Draw(t, path)).UTC()))
		return
	case time.Duration:
		v.SetInt(rapid.Int64Range(1, 1e6).Draw(t, path) * int64(time.Millisecond))
		return
	case api.CheckpointID:
		v.SetString(string(rapid.StringMatching("[0-9a-f]{64}").Draw(t, path)))
		return
	case api.EventType, api.Outcome:
		v.SetString(rapid.StringMatching(`[a-z0-9._-]{1,64}`).Draw(t, path))
		return
	case api.HeldState:
		v.SetString(string(rapid.SampledFrom(heldStates).Draw(t, path)))
		return
	case api.AgentSpec, api.EnvironmentSpec:
		// How specs are carried is tested where it is done; what leases and states hang on is looked at here too.
		switch s := v.Addr().Interface().(type) {
		case *api.AgentSpec:
			*s = api.AgentSpec{Environment: rapid.StringN(1, 9, -1).Draw(t, path), MaxDeliveries: rapid.IntRange(1, 9).Draw(t, path),
				StopAfter:   rapid.SampledFrom([]time.Duration{8 * time.Second, time.Hour, api.StopNever}).Draw(t, path),
				OnStateLoss: rapid.SampledFrom([]api.OnStateLoss{api.OnStateLossFail, api.OnStateLossContinue}).Draw(t, path),
				Checkpoint: rapid.SampledFrom([]api.Checkpoint{{Mode: api.CheckpointTurn}, {Mode: api.CheckpointIdle},
					{Mode: api.CheckpointInterval, Interval: time.Minute}}).Draw(t, path)}
		case *api.EnvironmentSpec:
			*s = api.EnvironmentSpec{Image: rapid.StringN(1, 9, -1).Draw(t, path)}
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.StringN(1, 12, -1).Draw(t, path))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64Range(1, 1<<31-1).Draw(t, path))
	case reflect.Uint8:
		v.SetUint(rapid.Uint64Range(1, 255).Draw(t, path))
	case reflect.Uint32:
		v.SetUint(rapid.Uint64Range(1, 1<<32-1).Draw(t, path))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64Range(1, 1<<64-1).Draw(t, path))
	case reflect.Slice:
		n := rapid.IntRange(1, 2).Draw(t, path)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, v.Index(i), path)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), path)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{rapid.StringN(1, 9, -1).Draw(t, path): rapid.StringN(1, 9, -1).Draw(t, path)}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), path)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if notCarried[v.Type().Name()+"."+f.Name] == "" {
				fill(t, v.Field(i), path+"."+f.Name)
			}
		}
	default:
		panic(fmt.Sprintf("%s: a field of kind %v is new here", path, v.Kind()))
	}
}

// carried passes a message over the wire.
func carried[M proto.Message](t *rapid.T, m, empty M) M {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, empty); err != nil {
		t.Fatal(err)
	}
	return empty
}

func same(t *rapid.T, want, got any, err error) {
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Fatalf("%T: %v\n%s", want, err, d)
	}
}

// TestEveryFieldIsCarried fills every field that there is, so that one that is added and not converted fails.
func TestEveryFieldIsCarried(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hello api.Hello
		fill(t, reflect.ValueOf(&hello).Elem(), "Hello")
		gotHello, err := helloFrom(carried(t, helloTo(hello), &linkv1.Hello{}))
		same(t, hello, gotHello, err)

		var welcome api.Welcome
		fill(t, reflect.ValueOf(&welcome).Elem(), "Welcome")
		same(t, welcome, welcomeFrom(carried(t, welcomeTo(welcome), &linkv1.Welcome{})), nil)

		var hub api.HubMessage
		fill(t, reflect.ValueOf(&hub).Elem(), "HubMessage")
		for i := range hub.Updates {
			for j := range hub.Updates[i].Sessions {
				d := &hub.Updates[i].Sessions[j]
				for k := range d.Signals {
					d.Signals[k].Session = d.Session // it is said once
				}
			}
		}
		wire, err := hubMessageTo(hub)
		if err != nil {
			t.Fatal(err)
		}
		gotHub, err := hubMessageFrom(carried(t, wire, &linkv1.HubMessage{}))
		same(t, hub, gotHub, err)

		var spoke api.SpokeMessage
		fill(t, reflect.ValueOf(&spoke).Elem(), "SpokeMessage")
		for i := range spoke.Events {
			b := &spoke.Events[i]
			for j := range b.Events {
				b.Events[j].Session, b.Events[j].Source = b.Session, b.Source // they are said once
			}
		}
		gotSpoke, err := spokeMessageFrom(carried(t, spokeMessageTo(spoke), &linkv1.SpokeMessage{}))
		same(t, spoke, gotSpoke, err)

		var header api.CheckpointHeader
		fill(t, reflect.ValueOf(&header).Elem(), "CheckpointHeader")
		header.Manifest = min(header.Manifest, api.MaxManifestBytes)
		gotHeader, err := headerFrom(carried(t, &linkv1.SaveRequest{Header: headerTo(header)}, &linkv1.SaveRequest{}))
		same(t, header, gotHeader, err)
	})
}

func TestEmptyMessagesStayEmpty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wire, err := hubMessageTo(api.HubMessage{Updates: []api.ShardUpdate{{Full: true, Sessions: []api.Desired{{Session: "s", Release: true}}}}, Acks: []api.Ack{{Source: api.HubSource}}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := hubMessageFrom(carried(t, wire, &linkv1.HubMessage{}))
		same(t, api.HubMessage{Updates: []api.ShardUpdate{{Full: true, Sessions: []api.Desired{{Session: "s", Release: true}}}}, Acks: []api.Ack{{Source: api.HubSource}}}, m, err)
		s, err := spokeMessageFrom(carried(t, spokeMessageTo(api.SpokeMessage{}), &linkv1.SpokeMessage{}))
		same(t, api.SpokeMessage{}, s, err)
	})
}

func TestUnreadableMessagesAreRefused(t *testing.T) {
	far := &linkv1.Position{Shard: api.Shards}
	if _, err := hubMessageFrom(&linkv1.HubMessage{Updates: []*linkv1.ShardUpdate{{Position: far}}}); err == nil {
		t.Error("a shard that does not exist")
	}
	if _, err := hubMessageFrom(&linkv1.HubMessage{Acks: []*linkv1.Ack{{Position: far}}}); err == nil {
		t.Error("an acknowledgement of a shard that does not exist")
	}
	if _, err := helloFrom(&linkv1.Hello{Positions: []*linkv1.Position{far}}); err == nil {
		t.Error("a position of a shard that does not exist")
	}
	if _, err := helloFrom(&linkv1.Hello{Held: []*linkv1.Held{{}}}); err == nil {
		t.Error("a state that is empty")
	}
	for _, e := range []*linkv1.Event{{}, {Type: "log\x00"}, {Type: "Log"}, {Type: "log", Outcome: "done\n"}} {
		if _, err := spokeMessageFrom(&linkv1.SpokeMessage{Events: []*linkv1.EventBatch{{Events: []*linkv1.Event{e}}}}); err == nil {
			t.Errorf("an event of type %q with outcome %q", e.Type, e.Outcome)
		}
	}
	if _, err := desiredFrom(&linkv1.Desired{Revision: &linkv1.Revision{Agent: []byte{0xff}}}); err == nil {
		t.Error("a spec that is no message")
	}
}
