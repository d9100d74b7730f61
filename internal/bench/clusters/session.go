package clusters

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/federation"
)

// begun is one start of a session.
type begun struct {
	id       string    // of the session
	pod      string    // name
	accepted time.Time // the hub's answer to the signal
	starts   time.Time // the spoke begins to start a workload, by its log
	attached time.Time // the harness's first call at the door was taken, by the spoke's log
	turn     time.Time // the turn began, by the harness's own time
	life
}

// start signals a session and waits until its harness is attached and its turn has ended.
func (w *world) start(ctx context.Context, agent, key string) (s begun, err error) {
	_, before := w.hear()
	a, err := w.client.Sessions.Signal(ctx, &navev1.SignalRequest{Agent: agent, Key: key, Payload: []byte("go")})
	if err != nil {
		return s, err
	}
	s.id, s.accepted = a.GetSessionId(), time.Now()
	prefix := strings.ToLower(s.id) + "-"
	if err = w.await(ctx, "a harness is attached for session "+s.id, func() (bool, error) {
		starts, attached := w.hear()
		for name, at := range attached {
			if strings.HasPrefix(name, prefix) && before[name].IsZero() {
				s.pod, s.attached, s.starts = name, at, starts[name]
				return true, nil
			}
		}
		return false, nil
	}); err != nil {
		return s, err
	}
	if s.life, err = w.seen.await(ctx, "the session's pod runs", s.pod, begins); err != nil {
		return s, err
	}
	return s, w.await(ctx, "the turn of session "+s.id+" ends", func() (bool, error) {
		log, err := w.log(ctx, s.id)
		if err != nil {
			return false, err
		}
		for _, e := range log {
			switch at := e.GetTime().AsTime(); {
			case at.Before(s.accepted):
			case e.GetType() == string(api.EventTurn):
				s.turn = at
			case e.GetType() == string(api.EventTurnDone):
				if e.GetOutcome() != string(api.OutcomeDone) {
					return false, fmt.Errorf("the turn ended as %s", e.GetOutcome())
				}
				return true, nil
			}
		}
		return false, fmt.Errorf("it has not ended")
	})
}

// log reads a session's log.
func (w *world) log(ctx context.Context, session string) (out []*navev1.Event, err error) {
	stream, err := w.client.Sessions.Events(ctx, &navev1.EventsRequest{SessionId: session})
	if err != nil {
		return nil, err
	}
	for stream.Receive() {
		out = append(out, stream.Msg())
	}
	return out, stream.Err()
}

// What the spoke says of a workload: that it begins to start it, and that its door has taken the harness.
var (
	startsLine   = regexp.MustCompile(`(?m)^time=(\S+) .*msg="workload starts" workload=(\S+) `)
	attachedLine = regexp.MustCompile(`(?m)^time=(\S+) .*msg="harness attached" workload=(\S+) `)
)

// spoken is what the spoke has said of workloads, and when first. Of its log only what is new is read: many wait for it at once, on the
// processors that they measure.
type spoken struct {
	mu               sync.Mutex
	of               *federation.Process
	read             int // bytes
	starts, attached map[string]time.Time
}

// hear returns what the spoke has said until now.
func (w *world) hear() (starts, attached map[string]time.Time) {
	s := &w.spoken
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of != w.spoke {
		s.of, s.read, s.starts, s.attached = w.spoke, 0, map[string]time.Time{}, map[string]time.Time{}
	}
	text := w.spoke.Output()
	text = text[min(s.read, len(text)) : strings.LastIndexByte(text, '\n')+1]
	s.read += len(text)
	for line, to := range map[*regexp.Regexp]map[string]time.Time{startsLine: s.starts, attachedLine: s.attached} {
		for _, m := range line.FindAllStringSubmatch(text, -1) {
			at, err := time.Parse(time.RFC3339Nano, m[1])
			if _, twice := to[m[2]]; err == nil && !twice {
				to[m[2]] = at
			}
		}
	}
	return maps.Clone(s.starts), maps.Clone(s.attached)
}

// end terminates a session and waits until nothing of it is left in the cluster.
func (w *world) end(ctx context.Context, s begun) error {
	if _, err := w.client.Sessions.Terminate(ctx, &navev1.IntentRequest{SessionId: s.id}); err != nil {
		return err
	}
	return w.rests(ctx, s)
}

// rests waits until nothing of a session is left in the cluster.
func (w *world) rests(ctx context.Context, s begun) error {
	_, err := w.seen.await(ctx, "nothing is left of session "+s.id, s.pod, func(l life) bool { return !l.gone.IsZero() && !l.unclaimed.IsZero() })
	return err
}

// podOf is a session's pod.
func (w *world) podOf(ctx context.Context, s begun) (*corev1.Pod, error) {
	return w.cluster.Client.CoreV1().Pods(namespaceOfOrg).Get(ctx, s.pod, metav1.GetOptions{})
}
