package navev1_test

import (
	"reflect"
	"time"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// makers narrows what is generated to what the wire can carry: text in UTF-8, numbers of 32 bits, times in UTC, and lists
// and maps that are nil when they have no entries.
var makers rapid.MakeConfig

func init() { // not in the declaration: the generators of lists refer back to it
	makers = rapid.MakeConfig{
		Types: map[reflect.Type]*rapid.Generator[any]{
			typeOf[string]():               rapid.StringN(0, 6, -1).AsAny(),
			typeOf[int]():                  rapid.Map(rapid.Int32(), func(n int32) int { return int(n) }).AsAny(),
			typeOf[time.Duration]():        rapid.Map(rapid.Int64(), func(n int64) time.Duration { return time.Duration(n) }).AsAny(),
			typeOf[time.Time]():            rapid.Map(rapid.Int64Range(0, 1<<40), moment).AsAny(),
			typeOf[[]string]():             sliceOf(rapid.StringN(0, 6, -1)),
			typeOf[[]int]():                sliceOf(rapid.Map(rapid.Int32(), func(n int32) int { return int(n) })),
			typeOf[[]uint64]():             sliceOf(rapid.Uint64()),
			typeOf[map[string]string]():    rapid.Map(rapid.MapOfN(rapid.StringN(0, 6, -1), rapid.StringN(0, 6, -1), 0, 3), nilMap).AsAny(),
			typeOf[[]api.Volume]():         sliceOf(rapid.Deferred(custom[api.Volume])),
			typeOf[[]api.EnvVar]():         sliceOf(rapid.Deferred(custom[api.EnvVar])),
			typeOf[[]api.File]():           sliceOf(rapid.Deferred(custom[api.File])),
			typeOf[[]api.InitScript]():     sliceOf(rapid.Deferred(custom[api.InitScript])),
			typeOf[[]api.EgressRule]():     sliceOf(rapid.Deferred(custom[api.EgressRule])),
			typeOf[[]api.Override]():       sliceOf(rapid.Deferred(custom[api.Override])),
			typeOf[[]api.Requirement]():    sliceOf(rapid.Deferred(custom[api.Requirement])),
			typeOf[[]api.MCPServer]():      sliceOf(rapid.Deferred(custom[api.MCPServer])),
			typeOf[[]api.Skill]():          sliceOf(rapid.Deferred(custom[api.Skill])),
			typeOf[[]api.Toleration]():     sliceOf(rapid.Deferred(custom[api.Toleration])),
			typeOf[[]api.Preference]():     sliceOf(rapid.Deferred(custom[api.Preference])),
			typeOf[[]api.Taint]():          sliceOf(rapid.Deferred(custom[api.Taint])),
			typeOf[[]api.Candidate]():      sliceOf(rapid.Deferred(custom[api.Candidate])),
			typeOf[[]api.ScoreTerm]():      sliceOf(rapid.Deferred(custom[api.ScoreTerm])),
			typeOf[[]api.FlavorCapacity](): sliceOf(rapid.Deferred(custom[api.FlavorCapacity])),
		},
		Fields: map[reflect.Type]map[string]*rapid.Generator[any]{
			typeOf[api.AgentSpec](): {
				"StopAfter": rapid.Map(rapid.Int64Range(-1, 1<<50), func(n int64) time.Duration { return time.Duration(n) }).AsAny(),
			},
			typeOf[api.ClusterStatus](): {"Sessions": rapid.IntRange(0, 1<<31).AsAny()},
		},
	}
	// Sources of events: those of attempts always name an epoch, the hub's is the zero value.
	makers.Types[typeOf[api.Source]()] = rapid.Map(rapid.Uint32(), func(n uint32) api.Source {
		if n == 0 {
			return api.HubSource
		}
		return api.Source{Epoch: api.Epoch{Incarnation: n, N: uint64(n) + 1}, Attempt: n}
	}).AsAny()
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

func custom[T any]() *rapid.Generator[T] { return rapid.MakeCustom[T](makers) }

func sliceOf[T any](g *rapid.Generator[T]) *rapid.Generator[any] {
	return rapid.Map(rapid.SliceOfN(g, 0, 3), func(s []T) []T {
		if len(s) == 0 {
			return nil
		}
		return s
	}).AsAny()
}

func nilMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// moment is a time; 0 is none.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
