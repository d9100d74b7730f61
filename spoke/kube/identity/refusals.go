package identity

import (
	"log/slog"
	"sync"
	"time"
)

// logged is how many refusals a minute the log gets. Who is refused can try as often as it likes.
const logged = 20

// maxSaid bounds what the log gets of a claim, in bytes.
const maxSaid = 200

// refusals logs refusals.
type refusals struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	minute time.Time // when the present one began
	told   int       // in it
	untold int       // since the last one that was told
}

func (r *refusals) add(workload string, why *misfit) {
	r.mu.Lock()
	now := r.now()
	if now.Sub(r.minute) >= time.Minute {
		r.minute, r.told = now, 0
	}
	if r.told == logged {
		r.untold++
		r.mu.Unlock()
		return
	}
	r.told++
	untold := r.untold
	r.untold = 0
	r.mu.Unlock()
	r.log.Warn("a token was refused", "workload", workload, "claim", why.claim, "said", clip(why.said), "want", clip(why.want), "untold", untold)
}

func clip(s string) string { return s[:min(len(s), maxSaid)] }
