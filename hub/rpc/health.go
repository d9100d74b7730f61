package rpc

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// healthz says that the process answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz says whether requests can be served, and names the parts that are not ready. Why they are not is in the log: the
// answer is for everybody.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	var missing []string
	parts := s.cfg.Ready()
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if err := parts[name]; err != nil {
			missing = append(missing, name)
			s.cfg.Log.Debug("not ready", "part", name, "error", err)
		}
	}
	if s.draining.Err() != nil {
		missing = append(missing, "shutting down")
	}
	if len(missing) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "not ready: %s\n", strings.Join(missing, ", "))
		return
	}
	fmt.Fprintln(w, "ok")
}
