package kube

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nave-dev/nave/api"
)

// Times of a feed.
const (
	watchGap   = 3 * time.Second // between two watches, in which what is shown still counts
	watchLasts = 30 * time.Second
	pauseFirst = 500 * time.Millisecond
	pauseMost  = 10 * time.Second // also how late the return of an API server is noticed
	pauseAsked = time.Minute      // the longest that an API server may ask for
)

// sight is what a feed knows of what it shows, at one time:
//
//	since the last watch                     what is shown
//	there was none                           is not known yet
//	it runs                                  is what there is
//	it ended not longer ago than watchGap    counts: API servers end watches every few minutes, and the next one begins at once
//	it ended longer ago                      is old
//	a question has failed                    is old, whatever runs
type sight struct {
	known bool      // there was a watch, and so a list before
	began time.Time // when the last watch did
	end   time.Time // when it ended; zero while it runs
	down  error     // of the last question; nil when a watch has begun since
	told  bool      // that it is down

	pause time.Duration // the last one
	asked time.Duration // by the API server, of the next one
}

// ready is nil while what is shown is what there is.
func (s *sight) ready(of call, now time.Time) error {
	switch {
	case s.down != nil:
		return s.down
	case !s.known:
		return api.Errorf(api.CodeUnavailable, "%s in namespace %s are not known yet", of.resource, of.namespace)
	case !s.end.IsZero() && now.Sub(s.end) > watchGap:
		return api.Errorf(api.CodeUnavailable, "watch %s in namespace %s: the last watch has ended and the API server begins no other", of.resource, of.namespace)
	}
	return nil
}

// failed takes that a question failed.
func (s *sight) failed(err error) {
	s.down, s.asked = err, 0
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		s.asked = min(time.Duration(seconds)*time.Second, pauseAsked)
	}
}

// begun takes that a watch has been established, and reports whether somebody was told that it is down.
func (s *sight) begun(now time.Time) (again bool) {
	again = s.told
	s.known, s.began, s.end, s.down, s.told, s.asked = true, now, time.Time{}, nil, false, 0
	return again
}

// ended takes that the watch is over.
func (s *sight) ended(now time.Time) {
	s.end = now
	if now.Sub(s.began) >= watchLasts {
		s.pause = 0
	}
}

// rest is the pause before the next round: longer each time, up to pauseMost, until a watch has lasted; and by chance of 0 to 1 up to
// half of it shorter, so that not all feeds of all spokes ask at once.
func (s *sight) rest(chance float64) time.Duration {
	s.pause = min(max(2*s.pause, pauseFirst), pauseMost)
	return max(s.pause-time.Duration(chance*float64(s.pause/2)), s.asked)
}
