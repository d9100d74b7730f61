package harness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/acp"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// The reasons for which an agent stops by its own word, as the protocol has them.
const (
	stopEnd       = "end_turn"
	stopCancelled = "cancelled"
)

// exchange runs one turn of a conversation. The turn is over when everything that the agent's program started is gone.
func (h *Harness) exchange(ctx context.Context, kill <-chan struct{}, a *agent, signals []*harnessv1.Signal) result {
	defer a.talk.Close() // also when something panics: the end of the program waits for it
	d := newDesk(h, signals, a.sink.put)
	blocks := prompt(h.w, signals, told{fresh: a.fresh, instructions: a.known.Instructions, lost: a.lost && !h.work.told})
	g := run.NewGroup(context.WithoutCancel(ctx))
	var cause error // why the turn was to end
	g.Go("steer", func(alive context.Context) error {
		cause = h.steer(ctx, alive, kill, a, d)
		return nil
	})
	stop, err := a.talk.Prompt(g.Context(), blocks, d.ask)
	g.Stop()
	perr := g.Wait()
	a.talk.Close()
	a.finish(kill, err == nil || errors.Is(err, acp.ErrEnded))
	if err == nil {
		a.known.Answered, a.known.Instructions = true, hashOf(h.w.Instructions)
		if serr := a.known.keep(h.w.Home); serr != nil {
			h.say(serr.Error())
		}
	}
	if perr != nil {
		return result{outcome: api.OutcomeFailed, reason: perr.Error()}
	}
	return h.judge(cause, stop, err, a)
}

// steer waits for what ends the turn before the agent does: then the agent is asked to end it, and gets the patience for
// that before its program is ended; a part of it when the turn is cut, which counts nothing and may be in haste. It returns
// why, or nil when alive, the time of the turn, has ended.
func (h *Harness) steer(ctx, alive context.Context, kill <-chan struct{}, a *agent, d *desk) error {
	limit, began := h.w.TurnLimit.AsDuration(), h.c.Clock()
	t := time.NewTimer(0)
	defer t.Stop()
	var cause error
	for cause == nil {
		var pause time.Duration
		if pause, cause = d.watch(began, limit); cause != nil {
			break
		}
		t.Reset(pause)
		select {
		case <-alive.Done():
			return nil
		case <-ctx.Done():
			cause = context.Cause(ctx)
		case <-t.C:
		case <-d.moved:
		case <-h.in.ordered:
		}
	}
	wait := h.c.Patience
	if cut := new(cutError); errors.As(cause, &cut) && cut.kind == stepCut {
		wait /= 4
	}
	patience, cancel := context.WithTimeout(alive, wait)
	defer cancel()
	if err := a.talk.Cancel(patience); err != nil {
		h.c.Log.Info("the agent cannot be asked to end the turn", "workload", h.w.Id, "err", err)
	}
	select {
	case <-patience.Done():
	case <-kill:
	}
	if alive.Err() == nil {
		a.end()
		select {
		case <-alive.Done(): // its end is the end of the prompt
		case <-kill:
			a.kill()
		}
	}
	return cause
}

// judge tells how a turn of a conversation ended: why it was to end, what the agent answered, and how its program ended.
func (h *Harness) judge(cause error, stop acp.Stop, err error, a *agent) result {
	var (
		cut     *cutError
		held    *holdError
		refused *acp.AgentError
	)
	how, last := a.ending()
	switch {
	case errors.As(cause, &cut) && cut.kind == stepCancel:
		return result{outcome: api.OutcomeCancelled, reason: cut.reason}
	case errors.As(cause, &cut) && cut.kind == stepInterrupt && err == nil && stop.Reason == stopCancelled:
		return result{outcome: api.OutcomeCancelled, reason: cut.reason}
	case errors.As(cause, &cut) && cut.kind == stepInterrupt && err == nil: // it was done before it heard of it
	case errors.As(cause, &cut):
		return result{outcome: api.OutcomeCut, reason: cut.reason}
	case errors.As(cause, &held):
		return result{outcome: api.OutcomeCancelled, reason: held.Error()}
	case errors.Is(cause, errTurnLimit):
		return tooLong(h.w.TurnLimit.AsDuration(), last)
	case cause != nil:
		return result{outcome: api.OutcomeCut, reason: cause.Error()}
	}
	switch {
	case errors.As(err, &refused):
		return result{outcome: api.OutcomeFailed, reason: fmt.Sprintf("the agent answered with an error: %v", err), detail: last}
	case errors.Is(err, acp.ErrEnded):
		return result{outcome: api.OutcomeFailed, reason: fmt.Sprintf("the agent ended during the turn: %s", how), detail: last}
	case err != nil:
		return result{outcome: api.OutcomeFailed, reason: err.Error(), detail: last}
	case stop.Reason == stopEnd:
		return result{outcome: api.OutcomeDone}
	}
	return result{outcome: api.OutcomeDone, reason: stopText(stop.Reason), stop: stop.Reason}
}

// stopText says for people why an agent stopped. Doing the turn again would not help: it is done.
func stopText(reason string) string {
	switch reason {
	case "max_tokens":
		return "the agent stopped: it reached the number of tokens that it may use"
	case "max_turn_requests":
		return "the agent stopped: it reached the number of requests to its model that a turn may have"
	case "refusal":
		return "the agent refused to go on"
	}
	return fmt.Sprintf("the agent stopped: %.100s", reason)
}
