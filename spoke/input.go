package spoke

import (
	"time"

	"github.com/nave-dev/nave/api"
)

// Input is something that the loop is to take. Its answer is given after the changes that it made are durable, or with the
// journal's error when they are not.
type Input struct {
	apply func(l *loop) (answer func(error))
	// calm: it may wait a moment for others of its kind, so that one append of the journal and one message serve them all.
	calm bool
}

// answered makes an input of something that has an answer.
func answered[T any](f func(l *loop) (T, error), answer func(T, error)) Input {
	return Input{apply: func(l *loop) func(error) {
		v, err := f(l)
		return func(commit error) {
			if err == nil {
				err = commit
			}
			if answer != nil {
				answer(v, err)
			}
		}
	}}
}

// told makes an input of something that has none.
func told(f func(l *loop)) Input {
	return Input{apply: func(l *loop) func(error) { f(l); return func(error) {} }}
}

// none is the answer of an input that has no other.
type none = struct{}

func plain(f func(l *loop) error, answer func(error)) Input {
	return answered(func(l *loop) (none, error) { return none{}, f(l) }, func(_ none, err error) {
		if answer != nil {
			answer(err)
		}
	})
}

// Tick makes the loop look at the clock. It must do so every 500 ms.
func Tick() Input { return told(func(*loop) {}) }

// Hello is [LinkHandler.Hello].
func Hello(answer func(api.Hello, error)) Input {
	return answered(func(l *loop) (api.Hello, error) { return l.hello(), nil }, answer)
}

// Connected is [LinkHandler.Connected].
func Connected(w api.Welcome, answer func(error)) Input {
	return plain(func(l *loop) error { l.welcome(w); return nil }, answer)
}

// Received is [LinkHandler.Receive].
func Received(m api.HubMessage, answer func(error)) Input {
	in := plain(func(l *loop) error { return l.receive(m) }, answer)
	in.calm = len(m.Updates) == 0
	return in
}

// Renewed is [LinkHandler.Renewed].
func Renewed(sent time.Duration, answer func(error)) Input {
	return plain(func(l *loop) error { l.renewed(sent); return nil }, answer)
}

// Disconnected is [LinkHandler.Disconnected].
func Disconnected(err error) Input { return told(func(l *loop) { l.disconnected(err) }) }

// Attached is [DoorHandler.Attached].
func Attached(id WorkloadID, answer func(upTo uint64, err error)) Input {
	return answered(func(l *loop) (uint64, error) { return l.attached(id) }, answer)
}

// Events is [DoorHandler.Events].
func Events(id WorkloadID, events []api.Event, answer func(error)) Input {
	in := plain(func(l *loop) error { return l.events(id, events) }, answer)
	in.calm = true
	return in
}

// Detached is [DoorHandler.Detached].
func Detached(id WorkloadID) Input { return told(func(l *loop) { l.detached(id) }) }

// Done is the outcome of a start or a stop.
func Done(c Call, err error) Input { return told(func(l *loop) { l.did(c, err) }) }

// Listed is the outcome of a list.
func Listed(c Call, list []Workload, listErr error, capacity api.Capacity, capErr error) Input {
	return told(func(l *loop) {
		l.list(c.List, list, listErr)
		if capErr != nil {
			l.log.Warn("capacity of the runtime is unknown", "error", capErr)
		} else {
			l.capacity, l.recount = &capacity, true
		}
	})
}
