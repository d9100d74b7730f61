package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// signEvery is how often a sign of life is given.
const signEvery = 2 * time.Second

// signs are the signs of life of this process: the content of a file, each time another one.
type signs struct {
	path string

	mu sync.Mutex // held while the file is written
	n  int        // guarded by mu
}

// give gives one.
func (s *signs) give() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return writeFile(s.path, fmt.Appendf(nil, "%d %d", os.Getpid(), s.n))
}

// run gives one whenever healthy finds the server in order. A disk that refuses is no reason to end: the parent would end the
// process, and the next one has the same disk.
func (s *signs) run(ctx context.Context, healthy func(context.Context) bool) error {
	tick := time.NewTicker(signEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		bounded, cancel := context.WithTimeout(ctx, signEvery)
		if healthy(bounded) {
			_ = s.give()
		}
		cancel()
	}
}
