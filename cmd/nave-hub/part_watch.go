package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
)

// watching serves what watches the program on the listener of metrics.listen, from the first moment on: whoever looks whether the program lives gets an
// answer while it waits for its parts, however long that is.
type watching struct {
	server *http.Server
	then   atomic.Pointer[http.Handler] // what answers once the hub serves; nil: it does not yet
}

func newWatching(p *program) *watching {
	w := &watching{}
	w.server = p.httpServer(w)
	return w
}

// ServeHTTP implements http.Handler.
func (w *watching) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	if then := w.then.Load(); then != nil {
		(*then).ServeHTTP(out, r)
		return
	}
	if r.URL.Path != "/healthz" {
		out.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(out, "not ready: starting")
		return
	}
	fmt.Fprintln(out, "ok")
}

// stop waits for answers that are under way, for a while. Later calls do nothing.
func (w *watching) stop() error {
	within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return w.server.Shutdown(within)
}

// Waits between two tries to reach a part.
const (
	firstWait   = 500 * time.Millisecond
	longestWait = 5 * time.Second
)

// reach calls open until a part that others run answers. A hub that waits goes on as soon as the part is there; one that ended would be started again
// by somebody who waits longer each time. What is wrong with the configuration is returned at once.
func reach(ctx context.Context, log *slog.Logger, part string, open func(context.Context) error) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := open(ctx)
		if err == nil || ctx.Err() != nil || !silent(err) {
			return err
		}
		log.Warn("a part of the hub does not answer yet", "part", part, "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// silent reports whether an error says that a part does not answer, and not that it refuses.
func silent(err error) bool {
	var network *net.OpError
	return api.CodeOf(err) == api.CodeUnavailable || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
}
