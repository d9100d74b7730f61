package rpc

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/nave-dev/nave/api"
)

// maxCallers is how many callers are told apart; those beyond share one account, so that memory is bounded.
const maxCallers = 10_000

// quotas keeps an account per caller: its rate and its open streams.
type quotas struct {
	limits Limits
	now    func() time.Time

	mu       sync.Mutex
	accounts map[string]*account // guarded by mu
}

type account struct {
	rate    *rate.Limiter
	used    time.Time
	streams int
}

// accountIdle is how long an account is kept after its last use: by then its bucket is full again.
const accountIdle = time.Minute

func newQuotas(l Limits, now func() time.Time) *quotas {
	return &quotas{limits: l, now: now, accounts: make(map[string]*account)}
}

// call takes one call from a credential's rate.
func (q *quotas) call(caller string) error {
	if !q.account(caller, q.limits.Rate, q.limits.Burst, 1) {
		return api.Errorf(api.CodeLimit, "more than %g requests per second of one credential (%d at once): wait, then repeat", q.limits.Rate, q.limits.Burst)
	}
	return nil
}

// signals takes what a call with n signals costs beyond the one call that was taken for it when it came: all of it or nothing.
func (q *quotas) signals(caller string, n int) error {
	if !q.account(caller, q.limits.Rate, q.limits.Burst, n-1) {
		return api.Errorf(api.CodeLimit, "%d signals cost as many requests, and more than %g per second of one credential (%d at once) came: wait, then repeat, or send fewer in one call", n, q.limits.Rate, q.limits.Burst)
	}
	return nil
}

// public takes one call from a peer's rate.
func (q *quotas) public(peer string) error {
	if !q.account(peer, q.limits.PublicRate, q.limits.PublicBurst, 1) {
		return api.Errorf(api.CodeLimit, "more than %g requests per second of one address (%d at once): wait, then repeat", q.limits.PublicRate, q.limits.PublicBurst)
	}
	return nil
}

func (q *quotas) account(key string, r float64, burst, n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	return q.findLocked(key, now, r, burst).rate.AllowN(now, n)
}

func (q *quotas) findLocked(key string, now time.Time, r float64, burst int) *account {
	a := q.accounts[key]
	if a == nil && len(q.accounts) >= maxCallers {
		for k, x := range q.accounts {
			if x.streams == 0 && now.Sub(x.used) > accountIdle {
				delete(q.accounts, k)
			}
		}
		if len(q.accounts) >= maxCallers {
			key = fmt.Sprintf("others %g", r)
			a = q.accounts[key]
		}
	}
	if a == nil {
		a = &account{rate: rate.NewLimiter(rate.Limit(r), burst)}
		q.accounts[key] = a
	}
	a.used = now
	return a
}

// open takes one of a credential's streams; the caller calls done when it is closed.
func (q *quotas) open(caller string) (done func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.findLocked(caller, q.now(), q.limits.Rate, q.limits.Burst)
	if a.streams >= q.limits.Streams {
		return nil, api.Errorf(api.CodeLimit, "more than %d open streams of one credential: close one first", q.limits.Streams)
	}
	a.streams++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		a.streams--
	}, nil
}
