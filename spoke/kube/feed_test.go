package kube

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/nave-dev/nave/api"
)

// moment is something that a feed meets, this long after the one before.
type moment struct {
	after time.Duration
	what  func(*sight, time.Time)
}

func begins(after time.Duration) moment {
	return moment{after, func(s *sight, now time.Time) { s.begun(now) }}
}

func over(after time.Duration) moment {
	return moment{after, func(s *sight, now time.Time) { s.ended(now) }}
}

func fails(after time.Duration) moment {
	return moment{after, func(s *sight, _ time.Time) {
		s.failed(&api.Error{Code: api.CodeDenied, Err: errors.New("no right")})
	}}
}

func TestSightIsOfWatchesThatRun(t *testing.T) {
	const soon = time.Second
	for _, tt := range []struct {
		name    string
		moments []moment
		later   time.Duration
		want    api.Code // empty: ready
	}{
		{"nothing was asked", nil, 0, api.CodeUnavailable},
		{"the first question fails", []moment{fails(0)}, 0, api.CodeDenied},
		{"a watch runs", []moment{begins(0)}, time.Hour, ""},
		{"it ends", []moment{begins(0), over(time.Minute)}, 0, ""},
		{"it ended a moment ago", []moment{begins(0), over(time.Minute)}, watchGap, ""},
		{"it ended longer ago", []moment{begins(0), over(time.Minute)}, watchGap + 1, api.CodeUnavailable},
		{"the next one runs", []moment{begins(0), over(time.Minute), begins(soon)}, time.Hour, ""},
		{"the next one runs late", []moment{begins(0), over(time.Minute), begins(time.Hour)}, time.Hour, ""},
		{"the next one is refused", []moment{begins(0), over(time.Minute), fails(0)}, 0, api.CodeDenied},
		{"the one after that runs", []moment{begins(0), over(time.Minute), fails(0), begins(0)}, time.Hour, ""},
		{"that one ends too", []moment{begins(0), over(time.Minute), fails(0), begins(0), over(0)}, time.Hour, api.CodeUnavailable},
	} {
		s, now := sight{}, noon
		for _, m := range tt.moments {
			now = now.Add(m.after)
			m.what(&s, now)
		}
		err := s.ready(call{"list", "pods", "acme"}, now.Add(tt.later))
		if (err == nil) != (tt.want == "") || err != nil && api.CodeOf(err) != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestPausesGrowUntilAWatchHasLasted(t *testing.T) {
	s := sight{}
	var got []time.Duration
	for range 7 {
		got = append(got, s.rest(0))
	}
	half := s.rest(1)
	s.begun(noon)
	s.ended(noon.Add(watchLasts - 1)) // too short
	got = append(got, half, s.rest(0))
	s.begun(noon)
	s.ended(noon.Add(watchLasts))
	got = append(got, s.rest(0))
	patience := apierrors.NewTooManyRequests("later", 20)
	s.failed(call{"list", "pods", "acme"}.fail(patience))
	got = append(got, s.rest(1))
	s.failed(call{"list", "pods", "acme"}.fail(apierrors.NewTooManyRequests("next year", 31_536_000)))
	got = append(got, s.rest(0))
	s.failed(errors.New("refused"))
	got = append(got, s.rest(0))
	const sec, ms = time.Second, time.Millisecond
	want := []time.Duration{500 * ms, sec, 2 * sec, 4 * sec, 8 * sec, 10 * sec, 10 * sec, 5 * sec, 10 * sec, 500 * ms, 20 * sec, pauseAsked, 4 * sec}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
}

func TestAPictureTellsOfWhatItShows(t *testing.T) {
	p := picture{Store: cache.NewStore(cache.MetaNamespaceKeyFunc)}
	var told []string
	tell := func(what string, shown bool) func(any) {
		return func(o any) {
			if _, ok, err := p.Get(o); err != nil || ok != shown {
				t.Errorf("%s is told of %v when it is shown: %v, %v", what, o, ok, err)
			}
			pod := o.(*corev1.Pod)
			if len(pod.ManagedFields) > 0 {
				t.Errorf("%s is told of what nobody looks at: %v", what, pod)
			}
			told = append(told, what+" "+pod.Name+pod.Labels["v"])
		}
	}
	p.saw, p.vanished = tell("saw", true), tell("lost", false)
	pod := func(name, v string) any {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, Labels: map[string]string{"v": v}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "x"}}}}
	}
	did := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	did(p.Replace([]any{pod("a", "1"), pod("b", "1")}, "1"))
	did(p.Update(pod("a", "2")))
	did(p.Add(pod("c", "1")))
	did(p.Delete(pod("b", "2")))
	did(p.Delete(pod("b", "2")))
	did(p.Replace([]any{pod("a", "3")}, "2"))
	want := []string{"saw a1", "saw b1", "saw a2", "saw c1", "lost b2", "lost c1", "saw a3"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
