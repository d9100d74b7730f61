package transport

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

const (
	beatWithin = time.Second // without an answer for so long a heartbeat is given up and the next one is sent
	beatMisses = 3           // so many in a row without an answer end the link
)

// beat sends heartbeats and tells the handler when each answered one was sent. The time is taken before the sending, so
// that the lease was prolonged after it for certain.
func (l *Link) beat(ctx context.Context, client linkv1.LinkClient, boot string, every time.Duration, h Handler) error {
	if every <= 0 {
		return api.Errorf(api.CodeInvalid, "the hub wants a beat every %v", every)
	}
	missed := 0
	for {
		sent, began := l.cfg.Now(), time.Now()
		err := beatOnce(ctx, client, boot)
		if ctx.Err() != nil {
			return nil
		}
		next := every
		switch api.CodeOf(err) {
		case "":
			missed = 0
			if err := h.Renewed(ctx, sent); err != nil {
				return err
			}
		case api.CodeUnavailable: // no answer in time, or the hub could not prolong the lease
			if missed++; missed == beatMisses {
				return api.Errorf(api.CodeUnavailable, "%d heartbeats in a row were not answered: %w", beatMisses, err)
			}
			l.cfg.Log.Debug("heartbeat not answered", "error", err, "in_a_row", missed)
			next = min(every, beatWithin)
		case api.CodeConflict: // the hub ended the link: its stream says why
			pause(ctx, every)
			return err
		default:
			return err
		}
		if !pause(ctx, next-time.Since(began)) {
			return nil
		}
	}
}

func beatOnce(ctx context.Context, client linkv1.LinkClient, boot string) error {
	ctx, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	_, err := client.Beat(ctx, &linkv1.BeatRequest{Boot: boot})
	return fromStatus(err)
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
