package ziti

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/openziti/sdk-golang/edge-apis"
)

// A client that had no answer is not used again, or every request would wait behind what never comes; one whose caller gave
// up is.
func TestAClientWithoutAnAnswerIsNotUsedAgain(t *testing.T) {
	silent := func(ctx context.Context, _ *edge_apis.ManagementApiClient) (int, error) {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}
	for name, tc := range map[string]struct {
		within, caller time.Duration
		dropped        bool
	}{
		"no answer":             {10 * time.Millisecond, time.Minute, true},
		"the caller gave it up": {time.Minute, 10 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			client := new(edge_apis.ManagementApiClient)
			m := &Manager{cfg: ManagerConfig{Within: tc.within, Log: slog.New(slog.DiscardHandler)}, client: client}
			ctx, cancel := context.WithTimeout(t.Context(), tc.caller)
			defer cancel()
			if _, err := call(ctx, m, silent); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("call = %v, want that the time was over", err)
			}
			if (m.client != client) != tc.dropped {
				t.Errorf("the client is dropped: %t, want %t", m.client != client, tc.dropped)
			}
		})
	}
}
