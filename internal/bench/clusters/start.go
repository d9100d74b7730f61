package clusters

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/kube"
)

// Start measures from a signal to the harness of a pod.
var Start = measure.Scenario{
	Name: "pod-start",
	About: "from the acceptance of a signal for a session that does not run to the first call of its harness at the spoke; " +
		"the floor is a pod of the same shape, made directly, until an informer shows it running",
	Run: func(ctx context.Context, b *measure.Bench) error { return inWorld(ctx, b, starts) },
}

// slower is how many times the bare pod's median a start may take.
const slower = 1.25

// What agents do: nothing, or keep a mebibyte that nothing compresses.
const (
	quickScript = `cat > /dev/null; echo done`
	stateScript = `cat > /dev/null; [ -e "$HOME/state" ] || dd if=/dev/urandom of="$HOME/state" bs=65536 count=16 2> /dev/null; echo done`
)

func starts(ctx context.Context, w *world) error {
	for name, script := range map[string]string{"quick": quickScript, "state": stateScript} {
		idle := "60s" // it is terminated before
		if name == "state" {
			idle = "1s"
		}
		if err := w.agent(ctx, name, script, idle); err != nil {
			return err
		}
	}
	if err := w.begin(ctx, kube.DeliveryVolume, w.cluster.Kubeconfig); err != nil {
		return err
	}
	shape, err := w.shape(ctx)
	if err != nil {
		return err
	}
	for _, part := range []func(context.Context, *corev1.Pod) error{w.oneAtATime, w.tenAtOnce, w.woken} {
		if err := part(ctx, shape); err != nil {
			return err
		}
	}
	if err := w.begin(ctx, kube.DeliveryInit, w.cluster.Kubeconfig); err != nil {
		return err
	}
	if shape, err = w.shape(ctx); err != nil {
		return err
	}
	return w.withInit(ctx, shape)
}

// oneAtATime starts a session, a bare pod and a minimal one in turns.
func (w *world) oneAtATime(ctx context.Context, shape *corev1.Pod) error {
	sessions, bare, small, err := w.turns(ctx, w.b.Many(20, 5), shape, minimal())
	if err != nil {
		return err
	}
	w.reportStarts("one at a time", sessions, bare)
	w.b.Report(measure.Figure{Name: "one at a time: minimal pod, p50", Unit: "ms", Value: measure.Ms(runningOf(small).At(0.5))})
	w.reportStages("one at a time", sessions, bare)
	return nil
}

// withInit does so where the harness comes by an init container.
func (w *world) withInit(ctx context.Context, shape *corev1.Pod) error {
	if len(shape.Spec.InitContainers) != 1 {
		return fmt.Errorf("the pod has %d init containers, want one", len(shape.Spec.InitContainers))
	}
	sessions, bare, _, err := w.turns(ctx, w.b.Many(10, 3), shape, nil)
	if err == nil {
		w.reportStarts("harness by an init container", sessions, bare)
	}
	return err
}

// turns starts sessions and bare pods, one after another and in turns; the least pod every second time.
func (w *world) turns(ctx context.Context, n int, shape, least *corev1.Pod) (sessions []begun, bare, small []bareStart, err error) {
	for i := range n {
		s, err := w.once(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		l, err := w.onceBare(ctx, shape)
		if err != nil {
			return nil, nil, nil, err
		}
		sessions, bare = append(sessions, s), append(bare, l)
		if least == nil || i%2 == 1 {
			continue
		}
		if l, err = w.onceBare(ctx, least); err != nil {
			return nil, nil, nil, err
		}
		small = append(small, l)
	}
	return sessions, bare, small, nil
}

// tenAtOnce starts ten sessions at once, and ten bare pods at once, in turns.
func (w *world) tenAtOnce(ctx context.Context, shape *corev1.Pod) error {
	const many = 10
	var sessions []begun
	var bare []bareStart
	for range w.b.Many(2, 1) {
		s, err := together(ctx, many, func(ctx context.Context) (begun, error) { return w.start(ctx, "quick", w.next("key")) })
		if err != nil {
			return err
		}
		for _, s := range s {
			if err := w.end(ctx, s); err != nil {
				return err
			}
		}
		l, err := together(ctx, many, func(ctx context.Context) (bareStart, error) { return w.startBare(ctx, shape) })
		if err != nil {
			return err
		}
		for _, l := range l {
			if err := w.endBare(ctx, l); err != nil {
				return err
			}
		}
		sessions, bare = append(sessions, s...), append(bare, l...)
	}
	w.reportStarts("ten at once", sessions, bare)
	w.reportStages("ten at once", sessions, bare)
	return nil
}

// woken wakes sessions that sleep with a mebibyte of state, and starts bare pods in turns.
func (w *world) woken(ctx context.Context, shape *corev1.Pod) error {
	const sleepers = 5 // one wakes while the others sleep
	var keys []string
	for range sleepers {
		keys = append(keys, w.next("sleeper"))
		s, err := w.start(ctx, "state", keys[len(keys)-1])
		if err != nil {
			return err
		}
		if err := w.rests(ctx, s); err != nil {
			return err
		}
	}
	var sessions []begun
	var bare []bareStart
	var turn measure.Samples
	for n := range w.b.Many(10, 3) {
		s, err := w.start(ctx, "state", keys[n%sleepers])
		if err != nil {
			return err
		}
		if err := w.rests(ctx, s); err != nil {
			return err
		}
		l, err := w.onceBare(ctx, shape)
		if err != nil {
			return err
		}
		sessions, bare, turn = append(sessions, s), append(bare, l), append(turn, s.turn.Sub(s.accepted))
	}
	w.reportStarts("woken with 1 MiB of state", sessions, bare)
	w.b.Latency("woken with 1 MiB of state: signal accepted to turn begun", turn, runningOf(bare), 0, 0, false)
	return nil
}

// reportStarts reports starts beside those of bare pods.
func (w *world) reportStarts(name string, sessions []begun, bare []bareStart) {
	var fromSignal, fromStart measure.Samples
	for _, s := range sessions {
		fromSignal = append(fromSignal, s.attached.Sub(s.accepted))
		fromStart = append(fromStart, s.attached.Sub(s.starts))
	}
	running := runningOf(bare)
	target := time.Duration(slower * float64(running.At(0.5)))
	w.b.Latency(name+": signal accepted to harness attached", fromSignal, running, target, 0, false)
	w.b.Latency(name+": spoke's start to harness attached", fromStart, running, target, 0, false)
}

// bareStart is one start of a bare pod.
type bareStart struct {
	name string
	from time.Time // when it was asked for
	life
}

// runningOf is how long bare pods took.
func runningOf(of []bareStart) (out measure.Samples) {
	for _, l := range of {
		out = append(out, l.running.Sub(l.from))
	}
	return out
}

// shape is the pod of a session, without what is Nave's. The session it is taken from warms everything up.
func (w *world) shape(ctx context.Context) (*corev1.Pod, error) {
	s, err := w.start(ctx, "quick", w.next("warm"))
	if err != nil {
		return nil, err
	}
	pod, err := w.podOf(ctx, s)
	if err != nil {
		return nil, err
	}
	return bareOf(pod), w.end(ctx, s)
}

// once starts a session and ends it.
func (w *world) once(ctx context.Context) (begun, error) {
	s, err := w.start(ctx, "quick", w.next("key"))
	if err != nil {
		return s, err
	}
	return s, w.end(ctx, s)
}

// onceBare starts a bare pod and ends it.
func (w *world) onceBare(ctx context.Context, of *corev1.Pod) (bareStart, error) {
	l, err := w.startBare(ctx, of)
	if err != nil {
		return l, err
	}
	return l, w.endBare(ctx, l)
}

// together does something n times at once.
func together[T any](ctx context.Context, n int, do func(context.Context) (T, error)) ([]T, error) {
	out := make([]T, n)
	g := run.NewGroup(ctx)
	for i := range n {
		g.Go("one of many", func(ctx context.Context) (err error) {
			out[i], err = do(ctx)
			return err
		})
	}
	return out, g.Wait()
}
