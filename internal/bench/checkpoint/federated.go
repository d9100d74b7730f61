package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/run"
)

// script makes a state of as many MiB as its signal says, in files as those of the floor, syncs it and says so: its line is the
// end of the work.
const script = `tr -d '\n' | sed 's/.*"payload":"\([0-9]*\)".*/\1/' >"$TMPDIR/n" &&
cd "$HOME" && head -c "$(cat "$TMPDIR/n")M" /dev/urandom | split -a 4 -b 65536 - part. && sync && echo made`

// turns is how often a state of each size is made, each time new.
const turns = 3

// endToEnd measures turns of a real federation.
func endToEnd(ctx context.Context, b *measure.Bench) error {
	return rig.With(ctx, b, func(ctx context.Context, r *rig.Rig) (err error) {
		profiles, err := rig.FreePort()
		if err != nil {
			return err
		}
		spoke, err := r.StartSpoke(ctx, "one", 4, "--profiling-listen", profiles)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.EndSpoke("one", spoke)) }()
		if err := r.Apply(ctx, "/bin/sh", "-c", script); err != nil {
			return err
		}
		for _, mib := range []int{1, 100} {
			var taken, saved []float64
			g := run.NewGroup(ctx)
			if mib > 1 { // long enough for a profile
				for name, address := range map[string]string{"hub": r.Profiles, "spoke": profiles} {
					g.Go("profile", func(ctx context.Context) error { return b.Profile(ctx, "checkpoint-"+name, address, 6*time.Second) })
				}
			}
			for n := range turns {
				t, s, err := turn(ctx, r, fmt.Sprintf("size-%d", mib), mib, n)
				if err != nil {
					return errors.Join(err, g.Wait())
				}
				taken, saved = append(taken, measure.Ms(t)), append(saved, measure.Ms(s))
			}
			if err := g.Wait(); err != nil {
				return err
			}
			name := fmt.Sprintf("turn of a federation, %d MiB, all new: ", mib)
			b.Report(measure.Figure{Name: name + "end of the program to turn.ended", Unit: "ms", Value: measure.Median(taken)})
			b.Report(measure.Figure{Name: name + "turn.ended to checkpoint.saved", Unit: "ms", Value: measure.Median(saved)})
		}
		return nil
	})
}

// turn sends a signal and waits until the checkpoint after its turn, the session's n-th, is saved. It returns how long each part
// took, by the times in the session's log.
func turn(ctx context.Context, r *rig.Rig, key string, mib, n int) (taken, saved time.Duration, err error) {
	session, err := r.Signal(ctx, key, fmt.Sprint(mib))
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, rig.Patience, errors.New("the checkpoint was not saved in time"))
	defer cancel()
	at := map[api.EventType]time.Time{}
	turns := 0
	err = r.Client.Follow(ctx, &navev1.EventsRequest{SessionId: session, Follow: true}, func(e *navev1.Event) error {
		t := api.EventType(e.GetType())
		if t == api.EventTurnDone {
			if e.GetOutcome() != string(api.OutcomeDone) {
				return fmt.Errorf("the turn ended %s: %s", e.GetOutcome(), e.GetText())
			}
			turns++
		}
		if t == api.EventSaved && turns == n+1 {
			at[t] = e.GetTime().AsTime()
			return errSeen
		}
		at[t] = e.GetTime().AsTime()
		return nil
	})
	if !errors.Is(err, errSeen) {
		return 0, 0, err
	}
	return at[api.EventTurnDone].Sub(at[api.EventMessage]), at[api.EventSaved].Sub(at[api.EventTurnDone]), nil
}

// errSeen ends the reading of a log.
var errSeen = errors.New("seen")
